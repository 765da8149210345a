"""Estimates of a recipe: monotone, sourced, and None where the inputs are unknown."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.catalog.gpu_specs import find_gpu
from ftwizard.catalog.prices import PriceRate
from ftwizard.estimate import memory, plan_estimate, training_machine, training_setup
from ftwizard.estimate.batching import Lengths
from ftwizard.estimate.duration import RunSpeed
from ftwizard.estimate.plan_estimate import RecipeEstimate
from ftwizard.estimate.training_machine import TrainingMachine
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import Data, Files, Finish, Model, Plan, Recipe
from tests.advice.test_data_settings import draw_lengths
from tests.helpers.shapes import PUBLISHED

LLAMA = PUBLISHED["llama-3.1-8b"]
RAGGED = draw_lengths(5.0, 1.0)
ROWS: Lengths = {"train": RAGGED, "validation": RAGGED.scaled(200)}
PLAN = Plan(data=Data(files=Files(train="rows")), model=Model(name="m"), recipe=Recipe())
A100 = TrainingMachine(card=find_gpu("NVIDIA A100-SXM4-80GB"), gpu=True, cores=8)
RECIPES = st.builds(
    Recipe,
    method=st.sampled_from(["lora", "qlora", "full"]),
    epochs=st.sampled_from([1.0, 2.0, 3.0]),
    batch_size=st.integers(1, 8),
    gradient_accumulation=st.integers(1, 8),
    max_length=st.sampled_from([128, 512, 1024, 4096]),
    packing=st.booleans(),
)


def seconds(recipe_estimate: RecipeEstimate) -> float:
    assert recipe_estimate.time is not None
    return recipe_estimate.time.value


def estimate_recipe(
    recipe: Recipe, machine: TrainingMachine = A100, rows: Lengths = ROWS,
    shape: ModelShape | None = LLAMA, merges: bool = True,
) -> RecipeEstimate:  # fmt: skip
    plan = msgspec.structs.replace(PLAN, recipe=recipe, finish=Finish(merge=merges))
    on = plan_estimate.estimate_on(machine, plan, rows, shape)
    assert on is not None
    return on


@given(RECIPES)
def test_each_figure_has_a_source_and_lies_in_its_range(recipe: Recipe) -> None:
    result = estimate_recipe(recipe)
    figures = [
        result.steps, result.tokens, result.padding, result.cut, result.time, result.whole,
        *result.parts.values(),
    ]  # fmt: skip
    for figure in figures:
        assert figure is not None and figure.source
        assert (figure.low is None) == (figure.high is None)
        if figure.low is not None and figure.high is not None:
            assert figure.low <= figure.value <= figure.high
    assert result.whole is not None and result.whole.value > seconds(result)
    assert result.evaluations >= 1 and result.memory is not None and result.cost is None
    if not recipe.packing:
        rows = (2000, recipe.batch_size, recipe.gradient_accumulation, recipe.epochs)
        assert result.steps.value == training_setup.total_steps(*rows)


@given(RECIPES)
def test_more_epochs_or_longer_rows_never_lower_the_estimate(recipe: Recipe) -> None:
    more = msgspec.structs.replace(recipe, epochs=recipe.epochs + 1)
    assert seconds(estimate_recipe(recipe)) < seconds(estimate_recipe(more))
    longer = msgspec.structs.replace(recipe, max_length=recipe.max_length * 2)
    assert estimate_recipe(recipe).tokens.value <= estimate_recipe(longer).tokens.value
    assert estimate_recipe(recipe).cut.value >= estimate_recipe(longer).cut.value


def test_packing_removes_all_padding() -> None:
    plain = estimate_recipe(Recipe())
    packed = estimate_recipe(Recipe(packing=True))
    assert plain.padding.value > 0.3 and packed.padding.value == 0


def test_measured_speed_takes_precedence() -> None:
    earlier = msgspec.structs.replace(A100, speeds=(RunSpeed(run="mine", tokens_per_s=100.0),))
    assert seconds(estimate_recipe(Recipe(), earlier)) == pytest.approx(
        estimate_recipe(Recipe()).tokens.value / 100
    )
    probed = msgspec.structs.replace(earlier, probed=50.0)
    result = estimate_recipe(Recipe(packing=True), probed)
    assert seconds(result) == pytest.approx(result.tokens.value / 50)
    assert result.time is not None and result.time.source.startswith("measured")


def test_unknown_gpu_or_shape_gives_no_estimate() -> None:
    odd = TrainingMachine(gpu=True, cores=8)
    assert (
        estimate_recipe(Recipe(), odd).time,
        estimate_recipe(Recipe(), odd).whole,
        estimate_recipe(Recipe(), odd).cost,
    ) == (None,) * 3
    result = estimate_recipe(Recipe(), shape=None)
    assert (result.time, result.memory) == (None, None) and result.steps.value > 0
    with pytest.raises(ValueError):
        estimate_recipe(Recipe(), rows={"train": RAGGED.scaled(0)})


def test_cpu_estimate_is_slower_and_cites_cpu_cores() -> None:
    result = estimate_recipe(Recipe(), TrainingMachine(cores=2, bfloat16_cpu=True))
    assert result.time is not None and "CPU cores" in result.time.source
    assert seconds(result) > 50 * seconds(estimate_recipe(Recipe()))


def test_memory_uses_the_setup_of_the_actual_run() -> None:
    old = TrainingMachine(card=find_gpu("Tesla T4"), gpu=True)
    first = training_machine.resolve_setup(Recipe(max_length=100_000), old, RAGGED)
    assert (first.precision, first.checkpointing) == ("fp16", True)
    assert first.length == RAGGED.buckets[-1].upto, "the longest row is below max_length"
    second = training_machine.resolve_setup(
        Recipe(max_length=512, packing=True, method="qlora"), A100, RAGGED
    )
    assert (second.precision, second.length) == ("bf16", 512)
    assert training_machine.resolve_setup(Recipe(method="qlora"), old).precision == "fp32"
    assert training_machine.resolve_setup(Recipe(), TrainingMachine(cores=2)).checkpointing is False
    result = estimate_recipe(Recipe(max_length=512, packing=True, method="qlora"))
    assert result.memory == memory.estimate_memory(LLAMA, second)
    rough = estimate_recipe(Recipe(), TrainingMachine(cores=2)).memory
    assert rough and rough.peak.high and rough.peak.low
    assert rough.peak.high > 1.5 * rough.peak.low, "CPU estimates have a wider range"
    assert estimate_recipe(Recipe(target_modules=("nothing",))).memory is None


def test_cost_covers_the_whole_run() -> None:
    hour = PriceRate(
        usd=Decimal("1.5"), unit="hour", source="a price", as_of="2026-11", confidence="high"
    )
    assert estimate_recipe(Recipe()).cost is None, "no hourly price is set"
    priced = estimate_recipe(Recipe(), msgspec.structs.replace(A100, hour=hour))
    assert priced.cost is not None and priced.whole is not None
    assert priced.cost.value == pytest.approx(priced.whole.value / 3600 * 1.5)
    fast = RunSpeed(run="earlier", tokens_per_s=1000.0)
    alone = estimate_recipe(
        Recipe(), msgspec.structs.replace(A100, hour=hour, speeds=(fast,)), shape=None
    )
    assert alone.whole is None and alone.time and alone.cost, (
        "without a shape, the cost covers training alone"
    )
    assert alone.cost.value == pytest.approx(alone.time.value / 3600 * 1.5)


def test_gpu_hours_cover_known_and_large_enough_gpus() -> None:
    names = ["a100-40gb", "h100-80gb", "rtx-4090", "t4", "abacus"]
    inputs = msgspec.structs.replace(PLAN, recipe=Recipe(method="qlora")), ROWS
    result, small, quantized = plan_estimate.estimate_gpus(
        *inputs, PUBLISHED["llama-3.1-70b"], names
    )
    assert list(result) == ["h100-80gb"] and not quantized
    assert small == {"a100-40gb", "rtx-4090", "t4"}, "an unknown GPU is not listed"
    expected = plan_estimate.estimate_gpus(*inputs, LLAMA, names).hours
    assert set(names) - set(expected) == {"abacus"}
    assert expected["h100-80gb"].value < expected["a100-40gb"].value < expected["t4"].value
    assert all(item.unit == "h" and item.source and item.as_of for item in expected.values())


def test_rented_gpus_are_judged_by_the_method_that_suits_them() -> None:
    names, shape = ["a100-40gb", "h100-80gb", "rtx-4090", "abacus"], PUBLISHED["llama-3.1-70b"]
    lora, qlora, full = (
        plan_estimate.estimate_gpus(
            msgspec.structs.replace(PLAN, recipe=Recipe(method=method)), ROWS, shape, names
        )
        for method in ("lora", "qlora", "full")
    )
    assert lora.hours == qlora.hours and set(lora.hours) == {"h100-80gb"}
    assert lora.by_qlora == {"a100-40gb", "h100-80gb", "rtx-4090"} and not qlora.by_qlora
    assert lora.too_small == qlora.too_small == {"a100-40gb", "rtx-4090"}
    assert full.too_small >= {"h100-80gb"} and not full.by_qlora, "a person chose full training"
    small = plan_estimate.estimate_gpus(
        msgspec.structs.replace(PLAN, recipe=Recipe(method="lora")), ROWS, LLAMA, ["h100-80gb"]
    )
    assert small.hours and not small.by_qlora, "LoRA fits"
