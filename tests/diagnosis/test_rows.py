"""Losses of single rows: sampling noise of a step, and changes that they prove."""

from __future__ import annotations

import random
from statistics import stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.diagnosis.rows import MIN_ROWS, RowLosses, compare, measure_step_noise, student_t

_losses = st.lists(st.floats(0, 20), min_size=MIN_ROWS, max_size=40)


@pytest.mark.parametrize(
    ("tail", "degrees", "value"),
    [(0.025, 1, 12.706), (0.025, 2, 4.303), (0.0005, 3, 12.924), (0.025, 4, 2.776),
     (0.001, 5, 5.893), (0.0005, 10, 4.587), (0.005, 30, 2.750), (0.025, 1000, 1.962)],
)  # fmt: skip
def test_student_t_matches_published_tables(tail: float, degrees: int, value: float) -> None:
    assert student_t(tail, degrees) == pytest.approx(value, abs=0.001)


@given(_losses, st.integers(0, 99), st.integers(1, 50))
def test_comparison_is_antisymmetric_and_contains_the_change(
    losses: list[float], seed: int, looks: int
) -> None:
    chance, before = random.Random(seed), RowLosses(1, losses)
    now = RowLosses(2, [loss + chance.gauss(0.1, 0.3) for loss in losses])
    change, back = compare(before, now, looks), compare(now, before, looks)
    assert change is not None and back is not None
    assert change.value == pytest.approx(now.loss - before.loss, abs=1e-9)
    assert change.low <= change.value <= change.high
    assert (change.low, change.high) == pytest.approx((-back.high, -back.low))
    wider = compare(before, now, looks + 1)
    assert wider is not None and wider.low <= change.low


def test_same_rows_prove_a_small_common_rise_among_large_differences() -> None:
    chance = random.Random(1)
    rows = [chance.lognormvariate(0, 1) for _ in range(20)]
    risen = [loss + 0.05 + chance.gauss(0, 0.02) for loss in rows]
    change = compare(RowLosses(1, rows), RowLosses(2, risen), looks=20)
    assert change is not None and change.is_rise and 0.03 < change.value < 0.07
    assert stdev(rows) > 10 * change.value


@pytest.mark.parametrize("rows", [6, 13, 40])
def test_chance_alone_rarely_proves_a_change(rows: int) -> None:
    chance, runs, looks = random.Random(rows), 300, 10
    proven = 0
    for _ in range(runs):
        before = RowLosses(1, [chance.lognormvariate(0, 0.6) for _ in range(rows)])
        changes = [
            compare(before, RowLosses(2, [x + chance.gauss(0, 0.1) for x in before.losses]), looks)
            for _ in range(looks)
        ]
        proven += any(change and (change.is_rise or change.is_fall) for change in changes)
    assert proven / runs < 0.1


@pytest.mark.parametrize("losses", [[], [1.0], [1.0] * (MIN_ROWS - 1)])
def test_too_few_or_other_rows_are_not_compared(losses: list[float]) -> None:
    assert compare(RowLosses(1, losses), RowLosses(2, losses), 5) is None
    assert compare(RowLosses(1, [1.0] * 9), RowLosses(2, [1.0] * 8), 5) is None


def test_unreadable_losses_are_not_compared() -> None:
    broken = [1.0] * 8 + [float("nan")]
    assert compare(RowLosses(1, [1.0] * 9), RowLosses(2, broken), 5) is None


@pytest.mark.parametrize("rows_per_step", [1, 4, 16])
def test_noise_of_steps_is_predicted_from_other_rows(rows_per_step: int) -> None:
    chance = random.Random(rows_per_step)

    def draw() -> tuple[float, int]:
        tokens = round(chance.lognormvariate(4, 0.7)) + 1
        return tokens * chance.lognormvariate(0.3, 0.5), tokens

    steps = []
    for _ in range(2000):
        rows = [draw() for _ in range(rows_per_step)]
        steps.append(sum(total for total, _ in rows) / sum(tokens for _, tokens in rows))
    totals, tokens = zip(*(draw() for _ in range(200)), strict=True)
    predicted = measure_step_noise(totals, tokens, rows_per_step)
    assert predicted == pytest.approx(stdev(steps), rel=0.3)
