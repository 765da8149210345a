"""Paired tests, compared with published and independently computed values."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.runs.paired_tests import (
    ALPHA,
    MAX_NEEDED_ROWS,
    bound_mean,
    bound_share,
    compare_means,
    compare_outcomes,
    compare_scores,
    count_needed_rows,
    find_provable_change,
)


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
    # wider: 0.02 − √((0.02 − 0.0055)² + 0.037²), from the Wilson intervals of 2 and of 0 of 100
    assert compare_outcomes(2, 0, 100).low == pytest.approx(0.02 - 0.0397, abs=1e-3)
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


def test_wilson() -> None:
    """Compare with the values of 80 of 100, and of 0 of 20, 50 and 100."""
    assert bound_share(80, 100) == pytest.approx((0.711, 0.867), abs=1e-3)
    assert [bound_share(0, n).high for n in (20, 50, 100)] == pytest.approx(
        [0.161, 0.071, 0.037], abs=1e-3
    )
    assert bound_share(0, 0) == (0, 1)


@pytest.mark.parametrize("rows", [20, 50, 100, 200])
def test_wilson_covers(rows: int) -> None:
    """Sum up the exact probabilities of all outcomes that an interval covers."""
    bounds = [bound_share(right, rows) for right in range(rows + 1)]
    coverage = [
        sum(
            math.comb(rows, right) * share**right * (1 - share) ** (rows - right)
            for right, bound in enumerate(bounds)
            if bound.low <= share <= bound.high
        )
        for share in (0.05 * step for step in range(1, 20))
    ]
    assert min(coverage) >= 0.92 and sum(coverage) / len(coverage) >= 0.945


@pytest.mark.parametrize("rows", [20, 40, 100, 200])
@pytest.mark.parametrize("broken", [0.0, 0.02, 0.1, 0.3])
def test_intervals_of_a_change_cover(rows: int, broken: float) -> None:
    """Few differing rows too, and none at all."""
    random = np.random.default_rng(5)
    for fixed in (0.0, 0.05, 0.2, 0.6):
        draws = random.multinomial(rows, [fixed, broken, 1 - fixed - broken], size=3000)
        outcomes, counts = np.unique(draws, axis=0, return_counts=True)
        covered = 0
        for (gains, losses, _), count in zip(outcomes.tolist(), counts.tolist(), strict=True):
            test = compare_outcomes(gains, losses, rows)
            covered += count * (test.low <= fixed - broken + 1e-12 and fixed - broken <= test.high)
        assert covered >= 0.925 * 3000, (fixed, broken)


@pytest.mark.parametrize("rows", [20, 100])
@pytest.mark.parametrize(("a", "b"), [(8, 2), (1, 1), (50, 2), (0.5, 0.5)])
def test_intervals_of_a_mean_cover(rows: int, a: float, b: float) -> None:
    drawn = np.random.default_rng(5).beta(a, b, size=(600, rows)).tolist()
    bounds = [bound_mean(scores) for scores in drawn]
    covered = sum(bound.low <= a / (a + b) <= bound.high for bound in bounds)
    assert covered >= 0.93 * len(bounds)


@given(st.lists(st.floats(0, 1), max_size=30))
def test_an_interval_of_a_mean_is_around_it_and_never_of_no_width(scores: list[float]) -> None:
    low, high = bound_mean(scores)
    assert 0 <= low < high <= 1
    if scores:
        assert low - 1e-9 <= math.fsum(scores) / len(scores) <= high + 1e-9


def test_equal_graded_scores_do_not_prove_that_there_is_no_change() -> None:
    test = compare_scores([0.4] * 50, [0.4] * 50)
    assert test.change == 0 and test.low == -test.high < -0.03 and test.p == 1
    assert compare_scores([0.0] * 3, [1.0] * 3).high == 1
    clear = compare_scores([0.4] * 50, [0.6] * 50)
    assert clear.low > 0 and clear.p < 0.001


@pytest.mark.parametrize(("rows", "change"), [(50, 0.16), (100, 0.1), (200, 0.07), (400, 0.05)])
def test_the_smallest_provable_change(rows: int, change: float) -> None:
    assert find_provable_change(rows) == pytest.approx(change)
    assert count_needed_rows(change) <= 1.2 * rows


@given(st.integers(6, 400), st.floats(0, 1))
def test_a_provable_change_is_significant_and_the_next_smaller_one_is_not(
    rows: int, share: float
) -> None:
    change = find_provable_change(rows, share)
    assert change is not None
    differing = max(6, round(share * rows))
    broken = (differing - round(change * rows)) // 2
    assert compare_outcomes(differing - broken, broken, rows).p < 0.05
    assert compare_outcomes(differing - broken - 1, broken + 1, rows).p >= 0.05


def test_too_few_rows_can_show_no_change() -> None:
    assert find_provable_change(5) is None and find_provable_change(6) == 1
    assert count_needed_rows(1.0) == 6 and count_needed_rows(0.0) == MAX_NEEDED_ROWS


def test_a_provable_change_is_shown_about_as_often_as_not() -> None:
    """It is the smallest that can be significant: a true one of that size is in about half of all
    samples, and one of half its size rarely."""
    random, rows = np.random.default_rng(5), 100
    assert find_provable_change(rows, 0.2) == pytest.approx(0.1)
    shares = []
    for size in (0.1, 0.05):
        chances = [0.1 + size / 2, 0.1 - size / 2, 0.8]
        draws = random.multinomial(rows, chances, size=2000).tolist()
        shares.append(np.mean([compare_outcomes(f, b, rows).p < 0.05 for f, b, _ in draws]))
    assert 0.4 <= shares[0] <= 0.7 and shares[1] < 0.25


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 200))
def test_the_interval_of_outcomes_excludes_zero_only_where_the_p_value_excludes_chance(
    fixed: int, broken: int, others: int
) -> None:
    test = compare_outcomes(fixed, broken, max(1, fixed + broken + others))
    assert test.p < ALPHA or test.low <= 0 <= test.high


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12))
def test_the_interval_of_means_excludes_zero_only_where_the_p_value_excludes_chance(
    pairs: list[tuple[float, float]],
) -> None:
    base, tuned = zip(*pairs, strict=True)
    for test in (compare_scores(base, tuned), compare_means(base, tuned)):
        assert test.p < ALPHA or test.low <= 0 <= test.high
