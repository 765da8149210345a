"""Plans that are reduced to finish in some minutes: what they give up first, and what never fits."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.advice import time_cap
from ftwizard.advice.time_cap import TimeCap
from ftwizard.catalog.gpu_specs import find_gpu
from ftwizard.estimate import batching, plan_estimate
from ftwizard.estimate.batching import Lengths
from ftwizard.estimate.duration import RunSpeed
from ftwizard.estimate.plan_estimate import RecipeEstimate
from ftwizard.estimate.training_machine import TrainingMachine
from ftwizard.models import model_config
from ftwizard.plan.checks import check_plan
from ftwizard.plan.schema import Budget, Data, Files, Finish, Mix, Model, Plan, Recipe
from tests.helpers.machines import make_machine
from tests.helpers.shapes import PUBLISHED

LLAMA = PUBLISHED["llama-3.1-8b"]
A100 = TrainingMachine(card=find_gpu("NVIDIA A100-SXM4-80GB"), gpu=True, cores=8)
PLAN = Plan(data=Data(files=Files(train="rows")), model=Model(name="m"))


def make_lengths(rows: int, mean: int = 200) -> Lengths:
    lengths = batching.from_counts([mean // 2 + n * 7919 % mean for n in range(min(rows, 500))])
    assert lengths is not None
    return lengths.scaled(rows).split(rows, PLAN)


def cap_on(
    rows: int, minutes: float, plan: Plan = PLAN, *, slower: float = 1.0,
    lengths: Lengths | None = None,
) -> TimeCap:  # fmt: skip
    """Reduce a plan on an A100, or on a machine that is ``slower``."""
    speed = RunSpeed(run="one", tokens_per_s=4000 / slower)
    machine = msgspec.structs.replace(A100, speeds=(speed,))
    spread = lengths or make_lengths(rows)

    def estimate(candidate: Plan) -> RecipeEstimate | None:
        return plan_estimate.estimate_on(machine, candidate, spread, LLAMA)

    cap = time_cap.cap_plan(plan, minutes, spread, estimate)
    assert cap is not None
    return cap


def changed(cap: TimeCap) -> dict[str, Any]:
    return {change.setting: change.after for change in cap.changes}


def test_run_that_fits_only_gets_the_limit() -> None:
    cap = cap_on(100, 60)
    assert cap.fits and changed(cap) == {"budget.minutes": 60}
    assert time_cap.describe_losses(cap) == []
    assert "The whole run fits" in time_cap.describe_outcome(cap)


def test_evaluations_are_given_up_first_then_epochs_rows_steps_and_length() -> None:
    lost = [set(changed(cap_on(2000, minutes, slower=4))) for minutes in (43, 34, 13)]
    assert lost[0] == {"budget.minutes", "recipe.evaluation_steps"}
    assert lost[1] == lost[0] | {"recipe.epochs"}
    assert lost[2] == lost[1] | {"data.max_rows"}
    alone = msgspec.structs.replace(PLAN, finish=Finish(merge=False, compare=False))
    few = cap_on(2000, 10, alone, slower=100)
    assert few.fits and time_cap.MIN_STEPS < changed(few)["recipe.max_steps"] < 16
    assert changed(few)["data.max_rows"] == time_cap.MIN_ROWS
    assert few.capped.evaluations == 1 and few.capped.max_length == 1024
    assert "ends after 11 steps" in time_cap.describe_losses(few)

    tail = batching.from_counts([120] * 400 + [1000] * 100)
    assert tail
    short = cap_on(2000, 10, alone, slower=150, lengths=tail.scaled(2000).split(2000, alone))
    assert short.fits and short.capped.max_length in (250, 500)
    assert any("of the rows are truncated" in line for line in time_cap.describe_losses(short))


def test_a_list_says_what_is_given_up() -> None:
    cap = cap_on(2000, 12, slower=4)
    rows = cap.plan.data.max_rows
    assert rows and rows % 10 == 0
    lines = time_cap.describe_losses(cap)
    assert lines[0] == f"{rows:,} of 1,600 rows, drawn by kind and length"
    assert lines[1] == "1 of 3 epochs"
    assert lines[2].startswith("2 evaluations of ") and "of 200 validation rows" in lines[2]
    assert "Expect a worse model: a look, not a result." in time_cap.describe_outcome(cap)


@given(st.integers(3, 20_000), st.floats(1, 300), st.floats(0.5, 60), st.booleans(),
       st.sampled_from([0.0, 0.1]), st.sampled_from([None, 30, 500]),
       st.sampled_from([0.5, 1.0, 2.5, 3.0]))  # fmt: skip
def test_reduced_plan_is_valid_never_larger_and_within_its_time(
    rows: int, minutes: float, slower: float, compares: bool, share: float, most: int | None,
    epochs: float,
) -> None:  # fmt: skip
    plan = msgspec.structs.replace(
        PLAN, finish=Finish(compare=compares), recipe=Recipe(epochs=epochs),
        data=Data(files=Files(train="rows"), mix=Mix(share=share), max_rows=most),
    )  # fmt: skip
    cap = cap_on(rows, minutes, plan, slower=slower)
    check_plan(cap.plan)
    assert cap.plan.budget.minutes == minutes
    before, after = cap.whole, cap.capped
    assert after.rows <= before.rows and after.epochs <= before.epochs
    assert after.steps <= before.steps and after.max_length <= before.max_length
    assert after.evaluations <= before.evaluations
    limit = minutes * 60 * (0.8 if compares else 1)
    assert cap.fits == (after.seconds.highest <= limit)
    settings = {change.setting for change in cap.changes}
    others = msgspec.structs.replace(
        cap.plan, data=plan.data, recipe=plan.recipe, budget=plan.budget
    )
    assert others == plan and settings <= set(time_cap._SETTINGS)


@given(st.integers(100, 5000), st.floats(1, 60), st.floats(1, 3))
def test_more_minutes_never_give_a_smaller_run(rows: int, minutes: float, times: float) -> None:
    short, long = cap_on(rows, minutes, slower=8), cap_on(rows, minutes * times, slower=8)
    assert long.fits or not short.fits
    if short.fits:  # within rounding to two digits
        assert long.capped.steps * long.capped.max_length >= (
            0.85 * short.capped.steps * short.capped.max_length
        )


def test_hours_give_way_to_minutes() -> None:
    plan = msgspec.structs.replace(PLAN, budget=Budget(hours=2, usd=5))
    cap = cap_on(100, 60, plan)
    assert cap.plan.budget == Budget(minutes=60, usd=5)
    assert changed(cap)["budget.hours"] is None


def test_run_that_cannot_fit_says_how_long_the_smallest_takes_and_what_helps() -> None:
    cap = cap_on(2000, 10, slower=500)
    assert not cap.fits
    assert cap.capped.steps == time_cap.MIN_STEPS and cap.capped.rows == time_cap.MIN_ROWS
    outcome = time_cap.describe_outcome(cap)
    assert outcome.startswith("Even 8 steps on 64 rows take ") and "smaller model" in outcome


def test_smaller_model_that_fits_this_machine_is_named() -> None:
    name = "Qwen/Qwen3-8B"
    shape, lengths = model_config.read_shape(name), make_lengths(1800)
    plan = msgspec.structs.replace(PLAN, model=Model(name=name))
    cap = time_cap.cap_on_machine(plan, 10, lengths, shape, make_machine())
    assert cap and not cap.fits and cap.smaller_model
    assert f"A smaller model would fit: {cap.smaller_model}." in time_cap.describe_outcome(cap)
    assert time_cap.cap_on_machine(plan, 10, lengths, None, make_machine()) is None


def test_margin_leaves_room_where_an_exact_count_showed_more() -> None:
    cap = cap_on(2000, 12, slower=4)
    machine = msgspec.structs.replace(A100, speeds=(RunSpeed(run="one", tokens_per_s=500),))
    slower = plan_estimate.estimate_on(machine, cap.plan, make_lengths(2000), LLAMA)
    margin = time_cap.find_margin(slower, cap.minutes, compares=cap.compares)
    assert margin < 0.98 / 1.2
    assert time_cap.find_margin(None, cap.minutes, compares=cap.compares) == 1
    lengths = make_lengths(2000)
    again = time_cap.cap_plan(
        PLAN, 12, lengths, margin=margin,
        estimate=lambda plan: plan_estimate.estimate_on(
            msgspec.structs.replace(A100, speeds=(RunSpeed(run="one", tokens_per_s=1000),)),
            plan, lengths, LLAMA),
    )  # fmt: skip
    assert again and again.capped.rows < cap.capped.rows


@pytest.mark.parametrize(("count", "rounded"), [(7, 7), (64, 64), (243, 240), (1999, 1900)])
def test_counts_are_rounded_to_two_digits(count: int, rounded: int) -> None:
    assert time_cap._round_down(count) == rounded
