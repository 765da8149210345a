"""Where the time of a step goes, and the setting that saves the most of it."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.plan import Recipe
from ftwizard.train.efficiency import (
    BUSY,
    LOOKED_AT,
    WORTH,
    Efficiency,
    Speed,
    Spent,
    advice,
    flops_a_token,
    shares,
)  # fmt: skip

H100 = 989.5e12
"""Operations a second of its 16-bit products, as its maker says."""


def spent(*, seconds: float = 10.0, waited: float = 0.0, computed: int = 40_000,
          real: int = 40_000, passes: int = 10) -> Spent:  # fmt: skip
    return Spent(seconds, waited, computed, real, passes)


def test_shares_are_of_time_and_of_computed_tokens() -> None:
    found = shares(spent(waited=2.5, real=30_000), Speed(1e9, 1e14))
    assert found == {
        "padding_share": 0.25, "wait_share": 0.25, "tokens_per_s": 3000.0, "flops_share": 0.04,
    }  # fmt: skip
    assert shares(spent(), None) == {"padding_share": 0, "wait_share": 0, "tokens_per_s": 4000}
    assert shares(Spent(), Speed(1e9, 1e14)) == {}


def test_products_of_a_token() -> None:
    """7 × 10⁹ weights: facts of each way, in operations a token."""
    size = 7_000_000_000
    assert flops_a_token(size, "full", checkpointing=False) == 42e9
    assert flops_a_token(size, "full", checkpointing=True) == 56e9
    assert flops_a_token(size, "lora", checkpointing=False) == 28e9
    assert flops_a_token(size, "qlora", checkpointing=True) == 42e9


@pytest.mark.parametrize(
    ("found", "recipe", "says"),
    [
        (spent(real=32_800), Recipe(), "18% of the computed tokens are padding: recipe.packing"),
        (spent(real=32_800), Recipe(packing=True), None),
        (spent(real=35_000), Recipe(), None),
        (spent(waited=3.0), Recipe(), "It waits 30% of the time for data"),
        (spent(waited=3.0, real=32_800), Recipe(), "It waits 30%"),
        (spent(waited=2.0, real=28_000), Recipe(), "30% of the computed tokens"),
        (spent(waited=1.0), Recipe(), None),
        (Spent(), Recipe(), None),
    ],
)
def test_the_setting_that_saves_the_most_is_named(
    found: Spent, recipe: Recipe, says: str | None
) -> None:
    said = advice(found, recipe, None)
    assert said is None if says is None else said and said.message.startswith(says)


def test_small_passes_leave_a_known_card_idle() -> None:
    speed = Speed(flops_a_token(7_000_000_000, "lora", checkpointing=True), H100)
    small = spent(computed=25_600, real=25_600, passes=100)  # 256 tokens each, 11 % of the peak
    said = advice(small, Recipe(), speed)
    assert said and said.setting == "recipe.batch_size: 16" and 0.7 < said.saves < 0.8
    assert said.message.startswith(
        "Passes of 256 tokens leave the card idle: batch size ×4 would save up"
    )
    assert "recipe.batch_size 16)" in said.message
    both = advice(small, Recipe(gradient_accumulation=8), speed)
    assert (
        both
        and "recipe.batch_size 16 and gradient_accumulation 2 make the same steps" in both.message
    )
    assert advice(small, Recipe(), None) is None, "of an unknown card nothing is said"
    assert advice(spent(computed=200_000, real=200_000), Recipe(), speed) is None, "large already"


def test_the_finding_names_the_setting_beside_its_sentence() -> None:
    told: list[dict[str, Any]] = []
    worker: Any = SimpleNamespace(
        events=SimpleNamespace(write=lambda kind, **said: told.append({"kind": kind, **said}))
    )
    callback = Efficiency(worker, Recipe(), Path())
    for step in range(1, LOOKED_AT + 2):
        callback._began, callback._now = 0.0, Spent(computed=1000, passes=1)
        state: Any = SimpleNamespace(global_step=step)
        logs = {"loss": 1.0, "num_tokens": 600 * step}
        callback.on_log(None, state, None, logs=logs)  # type: ignore[arg-type]
    (one,) = told
    assert one["kind"] == "finding" and one["step"] == LOOKED_AT and one["saves"] == 0.4
    assert one["setting"] == "recipe.packing: true" and one["message"].startswith("40% of the")


@given(
    computed=st.integers(1, 10**6), real=st.integers(0, 10**6), passes=st.integers(1, 10**4),
    seconds=st.floats(1e-3, 1e4), waited=st.floats(0, 1), flops=st.floats(1, 1e12),
    batch=st.integers(1, 64), accumulation=st.integers(1, 64),
    method=st.sampled_from(sorted(BUSY)),
)  # fmt: skip
def test_whatever_was_measured_a_saving_is_a_share_that_is_worth_it(
    computed: int, real: int, passes: int, seconds: float, waited: float, flops: float,
    batch: int, accumulation: int, method: str,
) -> None:  # fmt: skip
    found = Spent(seconds, waited * seconds, computed, min(real, computed), passes)
    recipe = Recipe(
        method=method,  # type: ignore[arg-type]
        batch_size=batch,
        gradient_accumulation=accumulation,
    )
    speed = Speed(flops, 1e14)
    assert all(math.isfinite(value) and value >= 0 for value in shares(found, speed).values())
    said = advice(found, recipe, speed)
    if said:
        percent = [word.rstrip("%") for word in said.message.split() if word.endswith("%")]
        assert [WORTH * 100 - 1 < int(one) <= 100 for one in percent] == [True]
