"""Estimates of several processes: memory of each and of all, steps, time and money."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.catalog.prices import PriceRate
from ftwizard.estimate import (
    gpu_fit,
    parallelism,
    plan_estimate,
    probe_cache,
    report_text,
    training_machine,
)
from ftwizard.estimate.batching import Lengths
from ftwizard.estimate.duration import RunSpeed
from ftwizard.estimate.parallelism import MODE_NAMES, Mode
from ftwizard.estimate.plan_estimate import RecipeEstimate
from ftwizard.hardware.machine import Gpu, MachineInfo
from ftwizard.plan.schema import GRPO, Data, Files, Model, Plan, Recipe, Slurm, Where
from ftwizard.rewards.reward import Reward
from ftwizard.runs.prediction import RunFigures
from tests.advice.test_data_settings import draw_lengths
from tests.helpers.machines import make_machine
from tests.helpers.probes import measured
from tests.helpers.shapes import PUBLISHED

LLAMA = PUBLISHED["llama-3.1-8b"]
ROWS: Lengths = {"train": draw_lengths(5.0, 1.0), "validation": draw_lengths(5.0, 1.0).scaled(200)}
A100 = Gpu(name="NVIDIA A100-SXM4-80GB", memory=80 * 2**30)
HOUR = PriceRate(
    usd=Decimal("1.5"), unit="hour", source="a price", as_of="2026-11", confidence="high"
)
RECIPES = st.builds(
    Recipe,
    method=st.sampled_from(["lora", "qlora", "full"]),
    epochs=st.sampled_from([1.0, 3.0]),
    batch_size=st.integers(1, 4),
    gradient_accumulation=st.integers(1, 4),
    max_length=st.sampled_from([256, 1024]),
    packing=st.booleans(),
)
PROCESSES = st.sampled_from([2, 3, 4, 8])
MODES = st.sampled_from(["ddp", "fsdp"])


def make_plan(recipe: Recipe, processes: int = 1, nodes: int = 1, **where: Any) -> Plan:
    slurm: dict[str, Any] = {"scheduler": "slurm"} if nodes > 1 else {}
    return Plan(
        data=Data(files=Files(train="rows")), model=Model(name="m"), recipe=recipe,
        where=Where(processes=processes, **where, **slurm),
        slurm=Slurm(nodes=nodes, gpus=processes, gpu_type="a100_80gb"),
    )  # fmt: skip


def estimate(
    plan: Plan, facts: MachineInfo | None = None, speeds: tuple[RunSpeed, ...] = ()
) -> RecipeEstimate:
    facts = facts or make_machine(*[A100] * plan.where.processes)
    result = plan_estimate.estimate_plan(plan, ROWS, LLAMA, facts, speeds=speeds, hour=HOUR)
    assert result is not None
    return result


def peak(result: RecipeEstimate) -> float:
    assert result.memory is not None
    return result.memory.peak.value


@given(RECIPES, PROCESSES)
def test_fsdp_needs_less_on_each_gpu_and_more_on_all(recipe: Recipe, processes: int) -> None:
    alone = estimate(make_plan(recipe))
    some, more = (
        estimate(make_plan(recipe, count, parallel="fsdp")) for count in (processes, processes + 1)
    )
    assert peak(more) < peak(some)
    assert some.parallel and some.parallel.memory and some.parallel.mode == "fsdp"
    assert some.parallel.memory.value == pytest.approx(processes * peak(some))
    assert some.parallel.memory.value > peak(alone)
    assert alone.parallel is None


@given(RECIPES, PROCESSES)
def test_ddp_needs_the_whole_model_on_each_gpu(recipe: Recipe, processes: int) -> None:
    alone = estimate(make_plan(recipe))
    some, more = (
        estimate(make_plan(recipe, count, parallel="ddp")) for count in (processes, processes + 1)
    )
    assert some.memory == more.memory
    assert peak(some) >= peak(alone)
    assert some.memory and alone.memory
    assert some.memory.parts["weights"].value >= alone.memory.parts["weights"].value
    assert some.parallel and some.parallel.memory and some.parallel.gathered is None
    assert some.parallel.memory.value == pytest.approx(processes * peak(some))


@given(RECIPES, PROCESSES)
def test_each_step_takes_the_rows_of_all_processes(recipe: Recipe, processes: int) -> None:
    recipe = msgspec.structs.replace(recipe, packing=False)
    alone, together = estimate(make_plan(recipe)), estimate(make_plan(recipe, processes))
    train = ROWS["train"]
    assert train
    batches = math.ceil(train.rows / recipe.batch_size)
    each_epoch = math.ceil(batches / (recipe.gradient_accumulation * processes))
    assert together.steps.value == math.ceil(each_epoch * recipe.epochs)
    assert together.tokens.value == alone.tokens.value, "the rows are the same"


@given(RECIPES, PROCESSES, st.sampled_from([1, 2]), MODES)
def test_time_is_between_ideal_and_waiting_for_the_exchange(
    recipe: Recipe, processes: int, nodes: int, mode: Literal["ddp", "fsdp"]
) -> None:
    alone = estimate(make_plan(recipe))
    together = estimate(make_plan(recipe, processes, nodes, parallel=mode))
    ranks = processes * nodes
    assert alone.time and together.time and together.parallel and together.parallel.speedup
    speedup = together.parallel.speedup
    assert together.parallel.processes == ranks and together.parallel.nodes == nodes
    assert speedup.lowest <= speedup.value <= speedup.highest
    assert speedup.highest <= 1.1 * ranks, "a step at the end of an epoch may be smaller"
    assert together.time.lowest <= together.time.value <= together.time.highest
    assert together.time.lowest >= alone.time.lowest / ranks * 0.9
    assert together.time.highest >= alone.time.highest / ranks


def test_more_is_exchanged_by_fsdp_and_over_a_network() -> None:
    recipe = Recipe(gradient_accumulation=4)

    def worst(nodes: int, mode: Literal["ddp", "fsdp"]) -> float:
        parallel = estimate(make_plan(recipe, 8 // nodes, nodes, parallel=mode)).parallel
        assert parallel and parallel.speedup
        return parallel.speedup.lowest

    assert worst(1, "ddp") > worst(1, "fsdp") > worst(2, "fsdp")
    assert worst(1, "ddp") > worst(2, "ddp")


@given(RECIPES, PROCESSES, st.sampled_from([1, 2]))
def test_money_is_hours_times_the_price_of_each_machine(
    recipe: Recipe, processes: int, nodes: int
) -> None:
    together = estimate(make_plan(recipe, processes, nodes))
    assert together.cost and together.whole and together.parallel and together.parallel.cost_each
    hours = together.whole.value / 3600
    assert together.cost.value == pytest.approx(hours * 1.5 * nodes)
    each = together.parallel.cost_each
    assert each.value * processes * nodes == pytest.approx(together.cost.value)
    free = together.with_price(None)
    assert free.cost is None and free.parallel and free.parallel.cost_each is None
    assert free.with_price(HOUR) == together


def test_processes_on_a_cpu_share_its_cores() -> None:
    facts = make_machine(cores=8)
    alone = estimate(make_plan(Recipe()), facts)
    together = estimate(make_plan(Recipe(), 4), facts)
    assert alone.time and together.time and together.parallel and together.parallel.speedup
    assert together.time.value >= alone.time.value
    assert together.parallel.speedup.highest == pytest.approx(1, rel=0.01)
    assert not together.parallel.on_gpu
    plan = make_plan(Recipe(), 4)
    assert training_machine.available_bytes(plan, facts) == facts.memory // 4


def test_measured_speed_of_as_many_processes_takes_precedence() -> None:
    plan = make_plan(Recipe(), 4)
    same = RunSpeed(run="four", tokens_per_s=400.0, processes=4, speedup=3.2)
    other = RunSpeed(run="one", tokens_per_s=150.0)
    result = estimate(plan, speeds=(other, same))
    assert result.time and result.parallel and result.parallel.speedup
    assert result.time.value == pytest.approx(result.tokens.value / 400)
    assert result.parallel.speedup.value == 3.2 and "four" in result.parallel.speedup.source

    scaled = estimate(plan, speeds=(other,))
    assert scaled.time and scaled.time.low is not None
    ideal = scaled.tokens.value / (150 * 1.5) / 4
    assert scaled.time.low == pytest.approx(ideal) and scaled.time.value > ideal


def test_a_probe_of_all_processes_gives_their_time_and_one_of_a_single_process_is_scaled() -> None:
    plan = make_plan(Recipe(), 4)
    facts = make_machine(*[A100] * 4)

    def predict(processes: int) -> RecipeEstimate:
        measurements = msgspec.structs.replace(measured(), rates=[400.0], processes=processes)
        probe = probe_cache.from_measurements(measurements, plan, 0, 0, RunFigures())
        result = plan_estimate.estimate_plan(plan, ROWS, LLAMA, facts, probe=probe)
        assert result is not None
        return result

    together, scaled = predict(4), predict(1)
    assert together.time and scaled.time and together.padding
    padded = together.tokens.value / (1 - together.padding.value)
    assert together.time.value == pytest.approx(padded / 400)
    assert "with 4 processes" in together.time.source
    assert scaled.time.lowest < together.time.value / 3
    assert together.parallel and together.parallel.speedup
    assert together.parallel.speedup.source.startswith("computed")


@pytest.mark.parametrize("mode", MODE_NAMES)
def test_a_probe_of_one_node_gives_the_time_of_all_with_their_exchange(mode: Mode) -> None:
    plan = make_plan(Recipe(), 4, 2, parallel=mode)
    facts = make_machine(*[A100] * 4)
    measurements = measured(rates=[400.0], processes=4, mode=mode)
    probe = probe_cache.from_measurements(measurements, plan, 0, 0, RunFigures())
    result = plan_estimate.estimate_plan(plan, ROWS, LLAMA, facts, probe=probe)
    assert result and result.time and result.padding and result.time.low
    padded = result.tokens.value / (1 - result.padding.value)
    assert result.time.value > padded / 800, "the nodes wait for each other"
    assert result.time.low < padded / 800 < result.time.highest
    assert "with 4 processes; exchange over" in result.time.source
    unknown = make_machine(Gpu(name="a GPU of the cluster", memory=None))
    again = plan_estimate.estimate_plan(plan, ROWS, LLAMA, unknown, probe=probe)
    assert again and again.time and again.time.value == pytest.approx(result.time.value)
    run = RunSpeed(run="all", tokens_per_s=100.0, processes=8)
    ran = plan_estimate.estimate_plan(plan, ROWS, LLAMA, facts, probe=probe, speeds=(run,))
    assert ran and ran.time and "all" in ran.time.source, "a run of all nodes says more"


def test_speed_of_several_counts_for_one_only_if_both_were_measured() -> None:
    plan = make_plan(Recipe())
    measured = RunSpeed(run="four", tokens_per_s=400.0, processes=4, speedup=3.2)
    result = estimate(plan, speeds=(measured,))
    assert result.time and result.time.value == pytest.approx(result.tokens.value / 125)
    unmeasured = msgspec.structs.replace(measured, speedup=None)
    result = estimate(plan, speeds=(unmeasured,))
    assert result.time and "four" not in result.time.source


def test_fit_is_judged_for_each_gpu_with_the_least_free_memory() -> None:
    busy = msgspec.structs.replace(A100, used=60 * 2**30)
    recipe = Recipe(method="full", batch_size=1)
    plan = make_plan(recipe, 4)
    facts = make_machine(A100, A100, busy, A100)
    fit = plan_estimate.check_plan_fit(plan, ROWS, LLAMA, facts)
    assert fit and fit.gpu.used == 60 * 2**30
    assert estimate(plan, facts).memory == fit.memory
    assert fit.verdict == "does not fit" and fit.sharded is None, "four such GPUs hold it when idle"
    idle = plan_estimate.check_plan_fit(plan, ROWS, LLAMA, make_machine(*[A100] * 4))
    assert idle and idle.verdict == "fits", "sharded over four"
    one = plan_estimate.check_plan_fit(make_plan(recipe), ROWS, LLAMA, make_machine(A100))
    assert one and one.verdict == "does not fit"


def test_suggested_changes_are_for_each_of_the_processes() -> None:
    small = Gpu(name="a GPU with 16 GB", memory=16 * 10**9)
    plan = make_plan(Recipe(batch_size=8), 2, parallel="fsdp")
    fit = plan_estimate.check_plan_fit(plan, ROWS, LLAMA, make_machine(small, small))
    assert fit and fit.verdict != "fits" and fit.changes
    for change in fit.changes:
        if change.setup:
            needs = gpu_fit.estimate_like(
                LLAMA, change.setup, None, parallelism_group(plan, make_machine(small, small))
            )(change.setup)
            assert needs == change.memory


def parallelism_group(plan: Plan, facts: MachineInfo) -> Any:
    setup = training_machine.setup(plan, ROWS, facts, LLAMA)
    group = plan_estimate.find_group(plan, setup, LLAMA, facts)
    assert group == (2, True)
    return group


def test_processes_are_described_with_mode_speed_and_reason() -> None:
    result = estimate(make_plan(Recipe(), 4, 2, parallel="fsdp"))
    assert result.parallel
    first, reason = report_text.format_parallel(result.parallel)
    assert first.name == "processes"
    assert first.text.startswith("8 GPUs on 2 nodes, FSDP · ")
    assert " times as fast as one GPU  (computed: " in first.text
    assert reason.text == "Set in the plan (where.parallel)."
    unknown = msgspec.structs.replace(result.parallel, speedup=None, on_gpu=False, nodes=1)
    first, _ = report_text.format_parallel(unknown)
    assert first.text == "8 CPU processes, FSDP · speed against one process unknown"


def test_exchange_of_two_is_the_size_of_what_is_exchanged() -> None:
    setup = training_machine.setup(make_plan(Recipe(), 2), ROWS, make_machine(A100), LLAMA)
    gradients = 4 * setup.trained(LLAMA)
    count = parallelism.count_exchanged(LLAMA, setup, "ddp", 2, steps=10, passes=40)
    assert count == pytest.approx(10 * gradients), "2 (N - 1) / N is 1"
    sharded = parallelism.count_exchanged(LLAMA, setup, "fsdp", 2, steps=10, passes=40)
    weights = 2 * LLAMA.parameters + gradients
    assert sharded == pytest.approx(40 * (2 * weights + gradients) / 2)


@pytest.mark.parametrize("objective", ["dpo", "kto", "grpo"])
def test_preferences_and_rewards_are_estimated_for_each_gpu_and_in_total(
    objective: Literal["dpo", "kto", "grpo"],
) -> None:
    """Four GPUs take a part each of what one takes in four times as many passes."""
    rewards = (Reward(function="exact_answer"),)
    grpo = GRPO(num_generations=4, rewards=rewards) if objective == "grpo" else GRPO()
    recipe = Recipe(objective=objective, batch_size=4, gradient_accumulation=8, grpo=grpo)
    four = msgspec.structs.replace(recipe, gradient_accumulation=2)
    alone, together = estimate(make_plan(recipe)), estimate(make_plan(four, 4))
    assert together.steps.value == alone.steps.value
    assert alone.time and together.time and together.parallel and together.parallel.memory
    assert together.parallel.mode == "ddp" and together.parallel.cost_each
    assert together.parallel.memory.value == pytest.approx(4 * peak(together))
    assert peak(together) == pytest.approx(peak(alone), rel=0.05)
    speedup = together.parallel.speedup
    assert speedup and 1 < speedup.lowest <= speedup.value <= speedup.highest <= 4
    assert together.time.value < alone.time.value
    # Cores are shared, so several processes on them save nothing.
    facts = make_machine(cores=8)
    alone, together = estimate(make_plan(recipe), facts), estimate(make_plan(four, 4), facts)
    assert alone.time and together.time and together.time.value > 0.95 * alone.time.value
