"""Preferences of two models on the same pairs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.evaluate.local_model import RowLikelihood
from ftwizard.evaluate.run.preferences import score_pairs
from ftwizard.runs.preference_scores import describe_preferences

RIGHT, WRONG = RowLikelihood(-5.0, -9.0), RowLikelihood(-9.0, -5.0)


def test_shares_and_changes_are_those_of_the_pairs() -> None:
    scores = score_pairs([WRONG] * 9 + [RIGHT, None], [RIGHT] * 8 + [WRONG, WRONG, RIGHT])
    assert scores is not None
    assert (scores.pairs, scores.fixed, scores.broken) == (10, 8, 1)
    assert (scores.base, scores.tuned) == (0.1, 0.8)
    assert scores.p == pytest.approx(2 * (math.comb(9, 0) + math.comb(9, 1)) / 2**9)
    assert "10 test pairs" in describe_preferences(scores)
    assert "+70 points" in describe_preferences(scores) and "shown" in describe_preferences(scores)


def test_equal_probabilities_are_no_preference() -> None:
    scores = score_pairs([RowLikelihood(-3.0, -3.0)], [RIGHT])
    assert scores is not None and (scores.base, scores.tuned) == (0.0, 1.0)
    assert "can be chance" in describe_preferences(scores)


def test_without_a_readable_pair_there_are_no_scores() -> None:
    assert score_pairs([None, RIGHT], [RIGHT, None]) is None


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_interval_holds_the_change(outcomes: list[tuple[bool, bool]]) -> None:
    scores = score_pairs(
        *([RIGHT if ok else WRONG for ok in side] for side in zip(*outcomes, strict=False))
    )
    assert scores is not None
    change = scores.tuned - scores.base
    assert scores.low <= change <= scores.high
    assert change == pytest.approx((scores.fixed - scores.broken) / scores.pairs)
