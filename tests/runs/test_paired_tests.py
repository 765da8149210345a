"""Paired tests, compared with published and independently computed values."""

from __future__ import annotations

import random

import pytest

from ftwizard.runs.paired_tests import compare_means, compare_outcomes


@pytest.mark.parametrize(
    ("fixed", "broken", "p"),
    [
        (0, 0, 1.0),
        (5, 0, 0.0625),
        (6, 0, 0.03125),
        (1, 1, 1.0),
        (59, 6, 4.9647e-12),  # 2 · 91,581,634 / 2^65
        (8, 2, 0.109375),
        (2, 8, 0.109375),
    ],
)
def test_mcnemar_is_exact(fixed: int, broken: int, p: float) -> None:
    assert compare_outcomes(fixed, broken, 100).p == pytest.approx(p, rel=1e-3)


def test_interval_of_agresti_and_min() -> None:
    """Compare with the formula, computed by hand."""
    test = compare_outcomes(16, 4, 50)
    # (16 − 4)/52 ± 1.96·√(16 + 4 + 1 − 144/52)/52
    assert test.change == pytest.approx(0.24)
    assert test.low == pytest.approx(0.2308 - 0.1609, abs=1e-3)
    assert test.high == pytest.approx(0.2308 + 0.1609, abs=1e-3)
    nothing = compare_outcomes(0, 0, 50)
    assert nothing.low == -nothing.high < 0, "50 equal rows do not prove that there is no change"
    assert compare_outcomes(3, 0, 3).high <= 1


def test_few_rows_prove_nothing() -> None:
    assert compare_means([2.0] * 5, [1.0] * 5).p == pytest.approx(2 / 2**5)
    assert compare_means([2.0] * 6, [1.0] * 6).p == pytest.approx(2 / 2**6)
    assert compare_means([1.0] * 9, [1.0] * 9).p == 1.0


def test_means_are_weighted_and_repeatable() -> None:
    base, tuned, tokens = [1.0, 3.0], [2.0, 1.0], [9.0, 1.0]
    test = compare_means(base, tuned, tokens)
    assert test.change == pytest.approx((9 * 1 - 2) / 10)
    assert test == compare_means(base, tuned, tokens)


def test_false_alarms_are_as_rare_as_promised() -> None:
    """Of 200 comparisons of equal models, about 5% are called different."""
    draw = random.Random(3)
    alarms = 0
    for _ in range(200):
        base = [draw.expovariate(1) for _ in range(12)]
        tuned = [value + draw.gauss(0, 0.3) for value in base]
        alarms += compare_means(base, tuned).p < 0.05
    assert 2 <= alarms <= 20
