"""Statistics of rankings: their share, its interval and what chance can explain."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.runs import ranking_tests

SCORES = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=12)


@given(SCORES, SCORES)
def test_share_is_that_of_all_combinations(wanted: list[float], unwanted: list[float]) -> None:
    counted = [(a > b) + (a == b) / 2 for a in wanted for b in unwanted]
    expected = sum(counted) / len(counted)
    share = ranking_tests.compute_share(wanted, unwanted)
    assert share == pytest.approx(expected)
    bounds = ranking_tests.bound_share(share, len(wanted), len(unwanted))
    assert 0 <= bounds.low <= share + 1e-9 and share - 1e-9 <= bounds.high <= 1


def test_a_perfect_order_of_few_answers_is_not_certain() -> None:
    few, many = (ranking_tests.bound_share(1.0, n, n) for n in (3, 30))
    assert few.high == many.high == 1.0
    assert few.low < 0.6 and 0.9 < many.low < 1.0
    assert ranking_tests.bound_share(0.5, 0, 4) == (0.0, 1.0)


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
def test_interval_covers_the_true_share(shift: float) -> None:
    """Cover it in at least 90% of samples of 15 wanted and 25 unwanted answers."""
    generator = random.Random(7)
    sample = [(generator.gauss(shift, 1), generator.gauss(0, 1)) for _ in range(20_000)]
    truth = sum(a > b for a, b in sample) / len(sample)
    covered = 0
    for _ in range(400):
        wanted = [generator.gauss(shift, 1) for _ in range(15)]
        unwanted = [generator.gauss(0, 1) for _ in range(25)]
        share = ranking_tests.compute_share(wanted, unwanted)
        low, high = ranking_tests.bound_share(share, 15, 25)
        covered += low <= truth <= high
    assert covered / 400 >= 0.9


def test_an_order_is_distinguished_from_chance() -> None:
    ordered = ranking_tests.test_ranking([5.0, 6.0, 7.0, 8.0], [1.0, 2.0, 3.0, 4.0])
    assert ordered.change == 0.5 and ordered.p < 0.05 and ordered.low > 0
    mixed = ranking_tests.test_ranking([1.0, 4.0, 5.0, 8.0], [2.0, 3.0, 6.0, 7.0])
    assert mixed.p > 0.5 and mixed.low < 0 < mixed.high
    reversed_order = ranking_tests.test_ranking([1.0] * 6, [2.0] * 6)
    assert reversed_order.change == -0.5 and reversed_order.high < 0


def test_equal_scores_are_chance() -> None:
    test = ranking_tests.test_ranking([0.0] * 9, [0.0] * 9)
    assert (test.change, test.p) == (0.0, 1.0)


def test_what_so_many_answers_can_show() -> None:
    gains = [ranking_tests.find_provable_gain(n, n) for n in (2, 10, 40)]
    assert gains[0] is None
    assert gains[1] and gains[2] and gains[2] < gains[1] < 0.5
    assert ranking_tests.find_provable_gain(0, 30) is None


def test_two_models_are_compared_on_the_same_answers() -> None:
    generator = random.Random(3)
    wanted = [(generator.gauss(0, 1), generator.gauss(2, 1)) for _ in range(25)]
    unwanted = [(generator.gauss(0, 1), generator.gauss(0, 1)) for _ in range(25)]
    test = ranking_tests.compare_rankings(wanted, unwanted)
    first, second = (
        ranking_tests.compute_share([p[n] for p in wanted], [p[n] for p in unwanted])
        for n in (0, 1)
    )
    assert test.change == pytest.approx(second - first)
    assert test.p < 0.05 and 0 < test.low < test.change < test.high
    same = ranking_tests.compare_rankings(
        [(a, a) for a, _ in wanted], [(b, b) for b, _ in unwanted]
    )
    assert same.change == 0 and same.p == 1.0 and same.low < 0 < same.high
