"""Recipe advice: an explanation for every setting, values by method, size, data and machine."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.kto_config import KTOConfig
from trl.trainer.sft_config import SFTConfig

from ftwizard.advice import recipe_advice, recipe_rules
from ftwizard.advice.evidence import GradableAnswers, Kind
from ftwizard.advice.recipe_advice import EarlierRate
from ftwizard.data.format_names import Format
from ftwizard.hardware.machine import MachineInfo
from ftwizard.objectives import ObjectiveName
from ftwizard.plan.schema import GRPO, Method, Recipe
from ftwizard.rewards.packaged import PACKAGED
from tests.advice.test_provider_advice import machine

METHODS: tuple[Method, ...] = get_args(Method)
OFFERED = [choice.value for choice in recipe_rules.setting("method").options]
FIELDS = {field.name: field for field in msgspec.structs.fields(Recipe)}
_sizes = st.none() | st.integers(10**6, 10**12)
_rows = st.none() | st.integers(0, 10**7)
_machines = st.builds(machine, st.floats(1, 200)) | st.just(machine())


def test_every_recipe_setting_is_explained() -> None:
    names = [setting.name for setting in recipe_rules.settings() if setting.part == "recipe"]
    assert sorted(names) == sorted(FIELDS.keys() - {"dpo", "kto", "grpo"})


@pytest.mark.parametrize("setting", recipe_rules.settings(), ids=lambda item: item.key)
def test_setting_texts_are_short_printable_and_sourced(setting: recipe_rules.Setting) -> None:
    assert len(setting.label) <= 32 and len(setting.reason) <= 170
    assert (setting.label + setting.reason + setting.source).isprintable()
    assert re.fullmatch(r"20\d\d-\d\d", setting.as_of) and len(setting.source) > 10
    default = setting.default
    if setting.options:
        assert setting.option(default).label
        assert all(len(choice.label) <= 44 for choice in setting.options)
    if setting.low is not None and setting.high is not None:
        assert setting.low < setting.high
        assert default is None or setting.low <= default <= setting.high


@pytest.mark.parametrize("objective", get_args(ObjectiveName))
def test_the_default_max_length_cites_the_config_of_the_objective(objective: ObjectiveName) -> None:
    setting = recipe_rules.setting("max_length").explained_for(objective)
    config = {"sft": SFTConfig, "dpo": DPOConfig, "kto": KTOConfig, "grpo": GRPOConfig}[objective]
    fields = {field.name: field for field in dataclasses.fields(config)}
    if "max_length" in fields:
        assert fields["max_length"].default == setting.default
        assert f"{config.__name__} defaults" in setting.source
    else:  # a limit of ftwizard's own
        assert "TRL" not in setting.source and setting.reason.startswith("Of a prompt")


@given(st.sampled_from(METHODS), _sizes, _rows, _machines)
def test_advised_values_make_a_valid_recipe(
    method: Method, parameters: int | None, rows: int | None, facts: MachineInfo
) -> None:
    advised = recipe_advice.advise(method, parameters, rows, facts)
    values = {item.name: item.value for item in advised}
    made = msgspec.convert(values, Recipe)
    assert 4 <= made.batch_size * made.gradient_accumulation <= 16
    assert 1 <= made.epochs <= 3
    if method in OFFERED:
        made = msgspec.convert({**values, "method": method}, Recipe)
        assert not recipe_advice.warnings(made, parameters)
    for item in advised:
        assert item.reason.isprintable() and len(item.reason) <= 170 and item.source and item.as_of


@given(st.sampled_from(METHODS), st.integers(1, 10**12), st.integers(1, 10**12))
def test_larger_models_never_get_a_higher_learning_rate(
    method: Method, first: int, other: int
) -> None:
    small, large = sorted((first, other))
    low, high = (recipe_advice.advise_learning_rate(method, size).value for size in (large, small))
    assert isinstance(low, float) and isinstance(high, float) and 0 < low <= high


@given(st.sampled_from(["lora", "qlora"]), _sizes)
def test_adapter_learning_rate_is_ten_times_the_full_one(
    method: Method, parameters: int | None
) -> None:
    adapter, full = (recipe_advice.advise_learning_rate(m, parameters) for m in (method, "full"))
    assert isinstance(adapter.value, float) and isinstance(full.value, float)
    assert adapter.value == pytest.approx(10 * full.value)
    assert "ten times" in adapter.reason and "A tenth" in full.reason
    assert "LoRA Without Regret" in adapter.source and "LoRA Without Regret" in full.source


@pytest.mark.parametrize(("billions", "names"), [(8, "5e-6 for its 8B"), (70, "2e-6 for its 70B")])
def test_published_full_learning_rate_is_cited_without_warning(billions: int, names: str) -> None:
    size = billions * 10**9
    assert recipe_advice.advise_learning_rate("full", size).reason.endswith(f"{names} model.")
    took = Recipe(method="full", learning_rate=float(names.partition(" ")[0]))
    assert not recipe_advice.warnings(took, size)


@pytest.mark.parametrize(
    ("method", "billions", "rate"),
    [
        ("lora", 0.135, 2e-4), ("qlora", 8, 2e-4), ("qlora", 13.02, 2e-4), ("qlora", 32, 1e-4),
        ("lora", 70, 1e-4), ("full", 1, 2e-5), ("full", 8, 2e-5), ("full", 70, 1e-5),
    ],
)  # fmt: skip
def test_learning_rate_depends_on_method_and_size(
    method: Method, billions: float, rate: float
) -> None:
    assert recipe_advice.advise_learning_rate(method, int(billions * 1e9)).value == rate


def test_learning_rate_reason_mentions_an_unknown_model_size() -> None:
    assert "Model size unknown" in recipe_advice.advise_learning_rate("lora", None).reason


@pytest.mark.parametrize(
    ("rows", "epochs"), [(None, 3), (200, 3), (9_999, 3), (10_000, 2), (500_000, 1)]
)
def test_large_datasets_get_fewer_epochs(rows: int | None, epochs: float) -> None:
    result = {item.name: item.value for item in recipe_advice.advise("lora", None, rows, machine())}
    assert result["epochs"] == epochs


def test_small_gpu_gets_batch_size_1_and_more_accumulation() -> None:
    for memory, size in ((8, 1), (24, 4)):
        result = {
            item.name: item.value
            for item in recipe_advice.advise("qlora", 8 * 10**9, 5000, machine(memory))
        }
        assert (result["batch_size"], result["gradient_accumulation"]) == (size, 16 // size)


@given(_sizes, _machines)
def test_advised_method_is_valid_in_a_plan(parameters: int | None, facts: MachineInfo) -> None:
    method = recipe_advice.advise_method(parameters, facts)
    assert msgspec.convert({"method": method.value}, Recipe)
    assert method.reason and method.source and len(method.reason) <= 170
    if not facts.gpus:
        assert method.value == "lora"


def warning_codes(recipe: Recipe, *rest: object, **more: bool) -> list[str]:
    return [warning.code for warning in recipe_advice.warnings(recipe, *rest, **more)]  # type: ignore[arg-type]


def test_learning_rate_reused_from_another_model_size_warns() -> None:
    recipe = Recipe(learning_rate=2e-4)
    small, large = 10**9, 70 * 10**9
    assert warning_codes(recipe, large, EarlierRate(rate=2e-4, parameters=small)) == [
        "rate-from-another-size"
    ]
    assert warning_codes(recipe, small, EarlierRate(rate=2e-4, parameters=large)) == [
        "rate-from-another-size"
    ]
    assert warning_codes(recipe, small, EarlierRate(rate=2e-4, parameters=small)) == []
    assert warning_codes(recipe, large, EarlierRate(rate=1e-4, parameters=small)) == []
    assert warning_codes(recipe, None, EarlierRate(rate=2e-4, parameters=small)) == []
    assert warning_codes(recipe, large, EarlierRate(rate=2e-4, parameters=None)) == []


def test_unusual_learning_rate_warns() -> None:
    size = 8 * 10**9
    assert warning_codes(Recipe(learning_rate=2e-5), size) == ["rate-too-low"]
    assert warning_codes(Recipe(learning_rate=2e-3), size) == ["rate-too-high"]
    for rate in (3e-5, 1e-3):
        assert warning_codes(Recipe(learning_rate=rate), size) == []


def test_many_epochs_and_missing_validation_need_allow() -> None:
    (epochs,) = recipe_advice.warnings(Recipe(epochs=4), None)
    assert (epochs.code, epochs.allow) == ("many-epochs", "many-epochs")
    (validation,) = recipe_advice.warnings(Recipe(), None, validates=False)
    assert (validation.code, validation.allow) == ("no-validation", "no-validation")
    assert recipe_advice.warnings(Recipe(), None) == ()


@pytest.mark.parametrize(
    ("method", "says"), [("qlora", "else fp32."), ("lora", "else fp16, and fp32 for Gemma.")]
)
def test_precision_reason_matches_the_choice_in_training(method: Method, says: str) -> None:
    """The choice itself is tested in tests/train/test_runtime.py."""
    (item,) = (
        item
        for item in recipe_advice.advise(method, 10**9, 1000, machine(16.0))
        if item.name == "precision"
    )
    assert item.value == "auto" and item.reason.endswith(says)


@pytest.mark.parametrize("generations", [2, 3, 5, 8, 12, 16, 32])
@pytest.mark.parametrize("memory_gb", [None, 6, 24])
def test_groups_of_answers_fill_whole_steps(generations: int, memory_gb: int | None) -> None:
    facts = machine() if memory_gb is None else machine(memory_gb)
    advised = recipe_advice.advise(
        "lora",
        600_000_000,
        500,
        facts,
        recipe=Recipe(objective="grpo", grpo=GRPO(num_generations=generations)),
    )
    values = {item.name: item.value for item in advised}
    answers: Any = values["batch_size"] * values["gradient_accumulation"]  # type: ignore[operator]
    assert answers % generations == 0 and answers >= generations
    assert "packing" not in values and values["epochs"] == 1


def test_labeled_answers_are_compared_within_a_batch() -> None:
    small = machine(1)
    alone, compared = (
        {item.name: item for item in recipe_advice.advise("lora", 7 * 10**9, 500, small, recipe=recipe)}
        for recipe in (Recipe(objective="dpo"), Recipe(objective="kto"))
    )  # fmt: skip
    assert alone["batch_size"].value == 1
    assert compared["batch_size"].value == 2 and "two or more" in compared["batch_size"].reason


@pytest.mark.parametrize(
    ("format", "objective"),
    [
        ("openai-chat", "sft"), ("alpaca", "sft"), ("text", "sft"), (None, "sft"),
        ("preference", "dpo"), ("openai-preference", "dpo"), ("kto", "kto"), ("prompt", "grpo"),
    ],
)  # fmt: skip
def test_rows_are_for_one_objective(format: Format | None, objective: str) -> None:
    gradable = GradableAnswers(kind="number", share=0.9, looked_at=10)
    for answers in (None, gradable):
        advised = recipe_advice.advise_objective(format, answers)
        assert advised.value == objective and advised.source and len(advised.reason) <= 170
    # Answers that can be verified are named, and chosen by nobody.
    assert ("90% of these end in a number" in advised.reason) == (objective == "sft")


def test_reward_follows_the_kind_of_answers() -> None:
    for kind in get_args(Kind):
        advised = recipe_advice.advise_rewards(GradableAnswers(kind=kind, share=1, looked_at=9))
        assert (advised is None) == (kind == "code")
        assert advised is None or advised.value in PACKAGED
    assert recipe_advice.advise_rewards(None) is None
