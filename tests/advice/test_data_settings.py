"""Recipe settings advised from rows and machine: valid in a plan, with a reason and a source."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.advice import recipe_advice, target_modules
from ftwizard.advice.recipe_rules import AdvisedValue
from ftwizard.catalog import gpu_specs
from ftwizard.errors import FtwizardError
from ftwizard.estimate import batching, memory, training_machine
from ftwizard.estimate.batching import LengthDistribution
from ftwizard.hardware.machine import Gpu, MachineInfo
from ftwizard.models.shapes import ModelShape
from ftwizard.objectives import ObjectiveName
from ftwizard.plan.schema import Data, Files, Method, Model, Plan, Recipe, Where
from tests.advice.test_provider_advice import machine
from tests.estimate.test_batching import make_lengths
from tests.helpers.shapes import PUBLISHED

LLAMA, MIXTURE = PUBLISHED["llama-3.1-8b"], PUBLISHED["qwen3-30b-a3b"]
METHODS: st.SearchStrategy[Method] = st.sampled_from(["lora", "qlora", "full"])
SHAPES = st.none() | st.sampled_from(list(PUBLISHED.values()))
CONTEXTS = st.none() | st.sampled_from([2048, 8192, 131072])


LENGTHS = st.none() | st.lists(st.integers(1, 20_000), min_size=1, max_size=200).map(make_lengths)
MACHINES = st.sampled_from([machine(), machine(24), machine(80)])


def machine_with_gpu(name: str, **more: Any) -> MachineInfo:
    expected = gpu_specs.find_gpu(name)
    gpu = Gpu(name=name, memory=expected.usable if expected else 24 * 10**9)
    return msgspec.structs.replace(machine(24), gpus=(gpu,), **more)


def advise_settings(
    *,
    method: Method = "lora",
    rows: int | None = 5000,
    facts: MachineInfo | None = None,
    **more: Any,
) -> dict[str, AdvisedValue]:
    parameters = more["shape"].parameters if more.get("shape") else 8 * 10**9
    advice = recipe_advice.advise(method, parameters, rows, facts or machine(80), **more)
    return {item.name: item for item in advice}


def draw_lengths(middle: float, width: float, count: int = 2000) -> LengthDistribution:
    """Return log-normal lengths, as in chat data."""
    draw = random.Random(3)
    return make_lengths([max(4, round(draw.lognormvariate(middle, width))) for _ in range(count)])


@given(METHODS, st.none() | st.integers(1, 10**6), MACHINES, LENGTHS, SHAPES, CONTEXTS)
def test_advice_is_a_valid_recipe_for_any_inputs(
    method: Method,
    rows: int | None,
    facts: MachineInfo,
    lengths: LengthDistribution | None,
    shape: ModelShape | None,
    context: int | None,
) -> None:
    result = advise_settings(
        method=method, rows=rows, facts=facts, lengths=lengths, shape=shape, context=context
    )
    made = msgspec.convert({name: item.value for name, item in result.items()}, Recipe)
    assert 1 <= made.batch_size * made.gradient_accumulation <= 16
    assert 128 <= made.max_length <= 8192 and 0.03 <= made.warmup <= 0.1
    assert made.alpha == 2 * made.rank and 16 <= made.rank <= 256
    assert context is None or made.max_length <= max(context, 1024)
    for item in result.values():
        assert item.reason.isprintable() and len(item.reason) <= 170 and item.source and item.as_of


def test_max_length_truncates_about_1_percent_of_rows() -> None:
    lengths = draw_lengths(5.0, 0.9)
    max_length = advise_settings(lengths=lengths)["max_length"]
    assert isinstance(max_length.value, int) and max_length.value % 64 == 0
    assert 0 < batching.cut_share(lengths.scaled(5000), max_length.value) <= 0.012
    assert "99%" in max_length.reason and f"{lengths.p99:,.0f}" in max_length.reason


def test_max_length_keeps_every_row_without_outliers() -> None:
    max_length = advise_settings(lengths=make_lengths([100] * 500 + [200] * 500))["max_length"]
    assert max_length.value == 256 and "none is truncated" in max_length.reason


def test_max_length_stays_within_the_model_context() -> None:
    max_length = advise_settings(lengths=make_lengths([9000] * 100), context=2048)["max_length"]
    assert (
        max_length.value == 2048
        and "context is 2,048 tokens; 100% of the rows" in max_length.reason
    )


def test_approximate_token_counts_widen_max_length() -> None:
    about = msgspec.structs.replace(make_lengths([100] * 500), most=2.3)
    max_length = advise_settings(lengths=about)["max_length"]
    assert max_length.value == 256 and "about 100 tokens" in max_length.reason
    assert advise_settings(lengths=make_lengths([100] * 500))["max_length"].value == 128


def test_max_length_is_capped_for_very_long_rows() -> None:
    max_length = advise_settings(lengths=make_lengths([20_000] * 100), context=131_072)[
        "max_length"
    ]
    assert max_length.value == 8192 and "100% of the rows are longer" in max_length.reason


def test_packing_depends_on_padding_steps_and_machine() -> None:
    ragged, even = draw_lengths(5.0, 1.0, 20_000), make_lengths([400] * 20_000)
    assert advise_settings(rows=20_000, lengths=ragged)["packing"].value is True
    assert "would be padding" in advise_settings(rows=20_000, lengths=ragged)["packing"].reason
    assert advise_settings(rows=20_000, lengths=even)["packing"].value is False
    few = advise_settings(rows=100, lengths=ragged)["packing"]
    assert few.value is False and "too few to learn" in few.reason
    here = advise_settings(rows=20_000, lengths=ragged, facts=machine())["packing"]
    assert here.value is False and "On a CPU" in here.reason
    assert "packing" not in advise_settings()


def test_packed_steps_hold_a_usual_number_of_rows() -> None:
    lengths = draw_lengths(5.0, 1.0, 20_000)
    result = advise_settings(rows=20_000, lengths=lengths)
    each = int(result["max_length"].value or 0) / lengths.mean
    together = each * int(result["batch_size"].value or 0)
    together *= int(result["gradient_accumulation"].value or 0)
    assert 8 <= together <= 24


@given(st.integers(10, 10**6), st.integers(10, 10**6))
def test_more_rows_never_lower_the_rank(first: int, other: int) -> None:
    few, many = (
        advise_settings(
            rows=rows, lengths=make_lengths([300] * 10), shape=PUBLISHED["smollm2-135m"]
        )["rank"].value
        for rows in sorted((first, other))
    )
    assert isinstance(few, int) and isinstance(many, int) and few <= many


def test_rank_grows_with_the_information_in_the_data() -> None:
    """A million rows of 300 tokens: 300 million bits, 2 per weight, 2.6 million weights per rank."""
    assert advise_settings(rows=5000, lengths=make_lengths([300]), shape=LLAMA)["rank"].value == 16
    many = advise_settings(rows=10**6, lengths=make_lengths([300]), shape=LLAMA)["rank"]
    assert many.value == 64 and "rank 64" in many.reason
    most = advise_settings(rows=10**8, lengths=make_lengths([300]), shape=LLAMA)["rank"]
    assert most.value == 256 and "full fine-tune" in most.reason
    assert "rank" not in advise_settings(method="full", lengths=make_lengths([300]), shape=LLAMA)


@pytest.mark.parametrize(("rows", "share"), [(60, 0.1), (1000, 0.03), (None, 0.03), (200, 0.04)])
def test_short_runs_warm_up_over_about_five_steps(rows: int | None, share: float) -> None:
    assert advise_settings(rows=rows)["warmup"].value == share


def test_warmup_share_counts_packed_steps() -> None:
    """About seven rows share a sequence, so that 3 % of the remaining steps are too few."""
    lengths = draw_lengths(5.0, 1.0, 370)
    result = advise_settings(rows=370, lengths=lengths)
    made = msgspec.convert({name: item.value for name, item in result.items()}, Recipe)
    assert made.packing
    left = batching.compute_passes(lengths, made).steps
    assert result["warmup"].reason.startswith(f"3% of {left} steps") and left < 167
    assert 5 <= made.warmup * left < 7


def test_batch_size_from_memory_cites_the_memory_estimate() -> None:
    """Check that they do not cite the source of the default, which is about other GPUs."""
    batch_size = advise_settings(lengths=make_lengths([300]), shape=LLAMA)["batch_size"]
    assert "of this GPU's memory" in batch_size.reason and "memory estimate" in batch_size.source
    small = advise_settings(lengths=make_lengths([300]), shape=LLAMA, facts=machine(8))[
        "batch_size"
    ]
    assert "may not fit" in small.reason and "memory estimate" in small.source
    assert "Unsloth" in advise_settings()["batch_size"].source
    assert "master copy" in advise_settings(method="full")["batch_size"].source
    few = advise_settings(rows=100)["gradient_accumulation"]
    assert "ftwizard's own rule" in few.source and "100 rows are few" in few.reason


def test_batch_size_counts_only_free_memory() -> None:
    """Another program may use the whole GPU."""
    gpu = machine(80).gpus[0]
    busy = msgspec.structs.replace(
        machine(80), gpus=(msgspec.structs.replace(gpu, used=gpu.memory),)
    )
    settings = advise_settings(lengths=make_lengths([300]), shape=LLAMA, facts=busy)
    assert settings["batch_size"].value == 1 and "may not fit" in settings["batch_size"].reason


def test_batch_size_on_a_cpu_counts_the_part_of_each_process() -> None:
    facts = msgspec.structs.replace(machine(), memory=32 * 10**9)
    plan = Plan(model=Model(name="m"), data=Data(files=Files(train="x")), where=Where(processes=2))
    share = training_machine.only_process_share(plan, facts)
    shape, lengths = PUBLISHED["llama-3.2-1b"], make_lengths([1900])
    together, alone = (
        advise_settings(lengths=lengths, shape=shape, facts=each)["batch_size"]
        for each in (share, facts)
    )
    assert (together.value, alone.value) == (1, 2)
    assert "of this machine's memory" in alone.reason
    unknown = msgspec.structs.replace(facts, memory=0)  # a node of a cluster
    settings = advise_settings(lengths=lengths, shape=shape, facts=unknown)
    assert settings["batch_size"].value == 4


def test_precision_and_attention_cite_the_gpu_datasheet() -> None:
    result = advise_settings(facts=machine_with_gpu("NVIDIA A100-SXM4-80GB", flash_attn=True))
    for name in ("precision", "attention"):
        assert "A100" in result[name].source and result[name].as_of < "2026"
    here = advise_settings(facts=machine())
    assert "own runs" in here["precision"].source


@given(
    st.sampled_from(["llama-3.2-3b", "llama-3.1-8b", "llama-3.1-70b"]),
    METHODS,
    st.sampled_from([8, 16, 24, 48, 80, 141]),
    st.integers(100, 4000),
    st.sampled_from(["sft", "dpo", "kto"]),
    st.booleans(),
)
def test_batch_size_is_the_largest_that_fits(
    model: str,
    method: Method,
    gigabytes: int,
    tokens: int,
    objective: ObjectiveName,
    has_gpu: bool,
) -> None:
    """With the memory that the estimate gives the advised recipe: a pair is two sequences."""
    shape = PUBLISHED[model]
    on_cpu = msgspec.structs.replace(machine(), memory=gigabytes * 10**9)
    facts = machine(gigabytes) if has_gpu else on_cpu
    estimate = memory.estimate_memory if has_gpu else memory.estimate_cpu_memory
    recipe = Recipe(objective=objective, method=method)
    result = advise_settings(
        method=method, lengths=make_lengths([tokens] * 50), shape=shape, facts=facts, recipe=recipe
    )
    batch, length = result["batch_size"].value, result["max_length"].value
    assert isinstance(batch, int) and isinstance(length, int)
    assert int(result["gradient_accumulation"].value or 0) * batch == 16

    def fits(size: int) -> bool:
        changed = msgspec.structs.replace(recipe, batch_size=size, max_length=length)
        target = training_machine.describe(next(iter(facts.gpus), None), facts)
        setup = training_machine.resolve_setup(changed, target, shape=shape)
        return estimate(shape, setup).peak.highest <= 0.95e9 * gigabytes

    reason = result["batch_size"].reason
    too_large = {1: "may not fit", 2: "needs two or more"}.get(batch, "never")
    assert fits(batch) or (batch == (1 + (objective == "kto")) and too_large in reason)
    assert batch == 4 or not fits(batch * 2)


@pytest.mark.parametrize(
    ("model", "gigabytes", "method", "says"),
    [
        ("llama-3.1-8b", 80, "lora", "LoRA needs up to"),
        ("llama-3.1-8b", 16, "qlora", "QLoRA needs up to"),
        ("llama-3.1-70b", 16, "qlora", "smaller model"),
    ],
)
def test_method_fits_by_the_memory_estimate(
    model: str, gigabytes: int, method: str, says: str
) -> None:
    shape = PUBLISHED[model]
    result = recipe_advice.advise_method(shape.parameters, machine(gigabytes), shape=shape)
    assert result.value == method and says in result.reason and len(result.reason) <= 170


@pytest.mark.parametrize(
    ("name", "flash", "precision", "attention"),
    [
        ("NVIDIA L40S", True, "bf16, which L40S", "flash attention"),
        ("NVIDIA L40S", False, "bf16, which L40S", "is not installed"),
        ("Tesla T4", True, "T4 does not support bf16", "does not run on T4"),
        ("Double", False, "bf16 if the GPU", "is not installed"),
        ("Double", True, "bf16 if the GPU", "Ampere or newer"),
    ],
)
def test_precision_and_attention_reasons_depend_on_the_gpu(
    name: str, flash: bool, precision: str, attention: str
) -> None:
    result = advise_settings(facts=machine_with_gpu(name, flash_attn=flash))
    assert precision in result["precision"].reason and attention in result["attention"].reason
    assert (result["precision"].value, result["attention"].value) == ("auto", "auto")


def test_report_to_defaults_to_none() -> None:
    report_to = recipe_advice.advise_report_to()
    assert (
        report_to.value is None
        and report_to.source
        and report_to.as_of
        and "key" in report_to.reason
    )


def test_adapter_prediction_warns_only_about_missing_targets() -> None:
    adapted = target_modules.predict_adapted(LLAMA, 16)
    assert (adapted.warnings, adapted.safer) == ((), ())
    some = target_modules.predict_adapted(LLAMA, 16, ("q_proj", "other"))
    assert "other" in some.warnings[0] and not some.safer


@pytest.mark.parametrize(
    ("targets", "says", "error"),
    [
        (("q_proj", "w1"), "has no w1 (recipe.target_modules)", ""),
        (("w1",), "has no w1", "It has: q_proj, k_proj, v_proj, o_proj, gate_proj"),
        (("qproj", "upproj"), "has no qproj, upproj", "Nearest: q_proj"),
        (("self_attn.q_proj", "model.layers.3.mlp.up_proj"), "", ""),
        (None, "", ""),
    ],
)
def test_missing_target_modules_are_reported(
    targets: tuple[str, ...] | None, says: str, error: str
) -> None:
    assert says in target_modules.describe_missing(LLAMA, targets) and bool(says) == bool(
        target_modules.describe_missing(LLAMA, targets)
    )
    if not error:
        target_modules.check_targets(LLAMA, targets)
        return
    with pytest.raises(FtwizardError) as raised:
        target_modules.check_targets(LLAMA, targets)
    assert says in raised.value.message and error in raised.value.hint


def test_qualified_target_module_matches_its_last_part() -> None:
    adapted = target_modules.predict_adapted(LLAMA, 16, ("self_attn.q_proj",))
    assert not adapted.warnings and not adapted.safer


def test_mixture_of_experts_warns_and_offers_a_dense_model() -> None:
    adapted = target_modules.predict_adapted(MIXTURE, 16)
    assert "Llama-3.1-8B" in adapted.safer[0]
    assert any("Experts hold" in warning for warning in adapted.warnings)
    assert any("16 bit" in warning for warning in adapted.warnings)


def test_unknown_model_type_warns() -> None:
    adapted = target_modules.predict_adapted(
        msgspec.structs.replace(LLAMA, covered=False, model_type="odd"), 16
    )
    assert adapted.safer and "odd" in adapted.warnings[0]
