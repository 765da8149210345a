"""Each setting is explained; values follow method, size, data and machine; warnings are earned."""

from __future__ import annotations

import re
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.advice import recipe_advice, recipe_rules
from ftwizard.advice.recipe_advice import EarlierRate
from ftwizard.hardware.machine import MachineInfo
from ftwizard.plan.schema import Method, Recipe, Samples
from tests.advice.test_provider_advice import machine

METHODS: tuple[Method, ...] = get_args(Method)
OFFERED = [choice.value for choice in recipe_rules.setting("method").options]
FIELDS = {field.name: field for field in msgspec.structs.fields(Recipe)}
OF_SAMPLES = {field.name: field for field in msgspec.structs.fields(Samples)}
_sizes = st.none() | st.integers(10**6, 10**12)
_rows = st.none() | st.integers(0, 10**7)
_machines = st.builds(machine, st.floats(1, 200)) | st.just(machine())


def test_every_setting_of_the_recipe_is_explained() -> None:
    names = [setting.name for setting in recipe_rules.settings() if setting.part == "recipe"]
    assert sorted(names) == sorted(FIELDS)


@pytest.mark.parametrize("setting", recipe_rules.settings(), ids=lambda item: item.name)
def test_a_setting_is_short_plain_and_sourced(setting: recipe_rules.Setting) -> None:
    assert len(setting.label) <= 32 and len(setting.reason) <= 170
    assert (setting.label + setting.reason + setting.source).isprintable()
    assert re.fullmatch(r"20\d\d-\d\d", setting.as_of) and len(setting.source) > 10
    default = (FIELDS if setting.part == "recipe" else OF_SAMPLES)[setting.name].default
    if setting.options:
        assert setting.option(default).label
        assert all(len(choice.label) <= 44 for choice in setting.options)
    if setting.low is not None and setting.high is not None:
        assert setting.low < setting.high
        assert default is None or setting.low <= default <= setting.high


@given(st.sampled_from(METHODS), _sizes, _rows, _machines)
def test_advice_is_a_recipe(
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
def test_larger_models_never_get_a_higher_rate(method: Method, first: int, other: int) -> None:
    small, large = sorted((first, other))
    low, high = (recipe_advice.advise_learning_rate(method, size).value for size in (large, small))
    assert isinstance(low, float) and isinstance(high, float) and 0 < low <= high


@given(st.sampled_from(["lora", "qlora"]), _sizes)
def test_adapters_take_ten_times_the_rate_of_all_weights_at_every_size(
    method: Method, parameters: int | None
) -> None:
    adapter, full = (recipe_advice.advise_learning_rate(m, parameters) for m in (method, "full"))
    assert isinstance(adapter.value, float) and isinstance(full.value, float)
    assert adapter.value == pytest.approx(10 * full.value)
    assert "ten times" in adapter.reason and "A tenth" in full.reason
    assert "LoRA Without Regret" in adapter.source and "LoRA Without Regret" in full.source


@pytest.mark.parametrize(("billions", "names"), [(8, "5e-6 for its 8B"), (70, "2e-6 for its 70B")])
def test_what_one_recipe_took_stands_beside_the_rate_and_is_no_warning(
    billions: int, names: str
) -> None:
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
def test_rates_go_by_method_and_size(method: Method, billions: float, rate: float) -> None:
    assert recipe_advice.advise_learning_rate(method, int(billions * 1e9)).value == rate


def test_a_size_that_is_not_known_is_said_to_be() -> None:
    assert "Model size unknown" in recipe_advice.advise_learning_rate("lora", None).reason


@pytest.mark.parametrize(
    ("rows", "epochs"), [(None, 3), (200, 3), (9_999, 3), (10_000, 2), (500_000, 1)]
)
def test_large_sets_take_fewer_epochs(rows: int | None, epochs: float) -> None:
    result = {item.name: item.value for item in recipe_advice.advise("lora", None, rows, machine())}
    assert result["epochs"] == epochs


def test_little_memory_takes_one_row_a_pass_and_as_many_a_step() -> None:
    for memory, size in ((8, 1), (24, 4)):
        result = {
            item.name: item.value
            for item in recipe_advice.advise("qlora", 8 * 10**9, 5000, machine(memory))
        }
        assert (result["batch_size"], result["gradient_accumulation"]) == (size, 16 // size)


@given(_sizes, _machines)
def test_the_method_advised_is_one_that_the_plan_has(
    parameters: int | None, facts: MachineInfo
) -> None:
    method = recipe_advice.advise_method(parameters, facts)
    assert msgspec.convert({"method": method.value}, Recipe)
    assert method.reason and method.source and len(method.reason) <= 170
    if not facts.gpus:
        assert method.value == "lora"


def codes(recipe: Recipe, *rest: object, **more: bool) -> list[str]:
    return [warning.code for warning in recipe_advice.warnings(recipe, *rest, **more)]  # type: ignore[arg-type]


def test_a_rate_carried_over_from_another_size_is_warned_about() -> None:
    recipe = Recipe(learning_rate=2e-4)
    small, large = 10**9, 70 * 10**9
    assert codes(recipe, large, EarlierRate(rate=2e-4, parameters=small)) == [
        "rate-from-another-size"
    ]
    assert codes(recipe, small, EarlierRate(rate=2e-4, parameters=large)) == [
        "rate-from-another-size"
    ]
    assert codes(recipe, small, EarlierRate(rate=2e-4, parameters=small)) == []
    assert codes(recipe, large, EarlierRate(rate=1e-4, parameters=small)) == []
    assert codes(recipe, None, EarlierRate(rate=2e-4, parameters=small)) == []
    assert codes(recipe, large, EarlierRate(rate=2e-4, parameters=None)) == []


def test_a_rate_far_from_the_usual_is_warned_about() -> None:
    size = 8 * 10**9
    assert codes(Recipe(learning_rate=2e-5), size) == ["rate-too-low"]
    assert codes(Recipe(learning_rate=2e-3), size) == ["rate-too-high"]
    for rate in (3e-5, 1e-3):
        assert codes(Recipe(learning_rate=rate), size) == []


def test_what_must_be_insisted_on() -> None:
    (epochs,) = recipe_advice.warnings(Recipe(epochs=4), None)
    assert (epochs.code, epochs.allow) == ("many-epochs", "many-epochs")
    (validation,) = recipe_advice.warnings(Recipe(), None, validates=False)
    assert (validation.code, validation.allow) == ("no-validation", "no-validation")
    assert recipe_advice.warnings(Recipe(), None) == ()


@pytest.mark.parametrize(
    ("rate", "words"), [(2e-4, "2e-4"), (1.5e-5, "1.5e-5"), (0.1, "0.1"), (0.0, "0"), (5.0, "5")]
)
def test_rates_in_words(rate: float, words: str) -> None:
    assert recipe_advice.format_learning_rate(rate) == words


@pytest.mark.parametrize(
    ("method", "says"), [("qlora", "else fp32."), ("lora", "else fp16, and fp32 for Gemma.")]
)
def test_the_precision_is_said_as_the_training_chooses_it(method: Method, says: str) -> None:
    """tests/unit/test_hardware.py has the choice itself."""
    (item,) = (
        item
        for item in recipe_advice.advise(method, 10**9, 1000, machine(16.0))
        if item.name == "precision"
    )
    assert item.value == "auto" and item.reason.endswith(says)
