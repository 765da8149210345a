"""Efficiency of training steps, and the setting that saves the most time."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.plan.schema import Recipe
from ftwizard.train.efficiency import (
    ADVICE_AFTER_STEPS,
    MIN_SAVING_RATIO,
    PEAK_UTILIZATION,
    ComputeSpec,
    EfficiencyCallback,
    StepUsage,
    advise,
    compute_shares,
    flops_per_token,
)

H100 = 989.5e12
"""Peak FLOP/s in 16 bits, as published by the vendor."""


def make_usage(*, seconds: float = 10.0, waited: float = 0.0, computed: int = 40_000,
          real: int = 40_000, passes: int = 10) -> StepUsage:  # fmt: skip
    return StepUsage(seconds, waited, computed, real, passes)


def test_shares_are_relative_to_time_and_computed_tokens() -> None:
    shares = compute_shares(make_usage(waited=2.5, real=30_000), ComputeSpec(1e9, 1e14))
    assert shares == {
        "padding_share": 0.25, "wait_share": 0.25, "tokens_per_s": 3000.0, "flops_share": 0.04,
    }  # fmt: skip
    assert compute_shares(make_usage(), None) == {
        "padding_share": 0,
        "wait_share": 0,
        "tokens_per_s": 4000,
    }
    assert compute_shares(StepUsage(), ComputeSpec(1e9, 1e14)) == {}


def test_flops_per_token_follow_method_and_checkpointing() -> None:
    """Check each method with 7 billion weights."""
    size = 7_000_000_000
    assert flops_per_token(size, "full", checkpointing=False) == 42e9
    assert flops_per_token(size, "full", checkpointing=True) == 56e9
    assert flops_per_token(size, "lora", checkpointing=False) == 28e9
    assert flops_per_token(size, "qlora", checkpointing=True) == 42e9


@pytest.mark.parametrize(
    ("step_usage", "recipe", "says"),
    [
        (make_usage(real=32_800), Recipe(), "18% of computed tokens are padding. recipe.packing"),
        (make_usage(real=32_800), Recipe(packing=True), None),
        (make_usage(real=35_000), Recipe(), None),
        (make_usage(waited=3.0), Recipe(), "Training waits for data 30% of the time"),
        (make_usage(waited=3.0, real=32_800), Recipe(), "Training waits for data 30%"),
        (make_usage(waited=2.0, real=28_000), Recipe(), "30% of computed tokens"),
        (make_usage(waited=1.0), Recipe(), None),
        (StepUsage(), Recipe(), None),
    ],
)
def test_advice_names_the_setting_that_saves_the_most(
    step_usage: StepUsage, recipe: Recipe, says: str | None
) -> None:
    advice = advise(step_usage, recipe, None)
    assert advice is None if says is None else advice and advice.message.startswith(says)


def test_small_passes_on_a_known_gpu_get_batch_advice() -> None:
    speed = ComputeSpec(flops_per_token(7_000_000_000, "lora", checkpointing=True), H100)
    small = make_usage(computed=25_600, real=25_600, passes=100)  # 256 tokens each, 11% of the peak
    advice = advise(small, Recipe(), speed)
    assert advice and advice.setting == "recipe.batch_size: 16" and 0.7 < advice.saves < 0.8
    assert advice.message.startswith(
        "Passes of 256 tokens leave the GPU underused. Batch size ×4 would save"
    )
    assert "recipe.batch_size 16)" in advice.message
    both = advise(small, Recipe(gradient_accumulation=8), speed)
    assert (
        both
        and "recipe.batch_size 16 with gradient_accumulation 2 for the same steps" in both.message
    )
    assert advise(small, Recipe(), None) is None, "no advice for an unknown GPU"
    assert advise(make_usage(computed=200_000, real=200_000), Recipe(), speed) is None, (
        "already large"
    )


def test_efficiency_finding_has_a_setting_and_a_message() -> None:
    recorded: list[dict[str, Any]] = []
    worker: Any = SimpleNamespace(
        events=SimpleNamespace(
            write_finding=lambda code, message, **fields: recorded.append(
                {"message": message, **fields}
            )
        )
    )
    callback = EfficiencyCallback(worker, Recipe(), Path())
    for step in range(1, ADVICE_AFTER_STEPS + 2):
        callback._began, callback._current = 0.0, StepUsage(computed=1000, passes=1)
        state: Any = SimpleNamespace(global_step=step)
        logs = {"loss": 1.0, "num_tokens": 600 * step}
        callback.on_log(None, state, None, logs=logs)
    (item,) = recorded
    assert item["step"] == ADVICE_AFTER_STEPS and item["saves"] == 0.4
    assert item["setting"] == "recipe.packing: true" and item["message"].startswith(
        "40% of computed"
    )


@given(
    computed=st.integers(1, 10**6), real=st.integers(0, 10**6), passes=st.integers(1, 10**4),
    seconds=st.floats(1e-3, 1e4), waited=st.floats(0, 1), flops=st.floats(1, 1e12),
    batch=st.integers(1, 64), accumulation=st.integers(1, 64),
    method=st.sampled_from(sorted(PEAK_UTILIZATION)),
)  # fmt: skip
def test_advice_always_saves_a_worthwhile_share(
    computed: int, real: int, passes: int, seconds: float, waited: float, flops: float,
    batch: int, accumulation: int, method: str,
) -> None:  # fmt: skip
    step_usage = StepUsage(seconds, waited * seconds, computed, min(real, computed), passes)
    recipe = Recipe(
        method=method,  # type: ignore[arg-type]
        batch_size=batch,
        gradient_accumulation=accumulation,
    )
    speed = ComputeSpec(flops, 1e14)
    assert all(
        math.isfinite(value) and value >= 0 for value in compute_shares(step_usage, speed).values()
    )
    advice = advise(step_usage, recipe, speed)
    if advice:
        percent = [word.rstrip("%") for word in advice.message.split() if word.endswith("%")]
        assert [MIN_SAVING_RATIO * 100 - 1 < int(item) <= 100 for item in percent] == [True]
