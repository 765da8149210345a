"""Tests of evaluate/results.py: scores, differences and flips out of scored answers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ftwizard.evaluate.items import Item, ScorerName
from ftwizard.evaluate.results import index_answers, make_evaluation, summarize_set
from ftwizard.plan.schema import Gate
from ftwizard.runs.evaluation import Failure, ItemAnswer, ItemScore

GATE = Gate(gain=0.05, max_general_loss=0.05, max_safety_loss=0.05)


def make_items(count: int, set_name: str = "target", scorer: ScorerName = "exact") -> list[Item]:
    return [
        Item(
            id=f"{set_name}-{n}",
            set=set_name,
            messages=[
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": f"q{n}"},
            ],
            scorer=scorer,
            expected=[f"a{n}"],
            line=n + 1,
        )
        for n in range(count)
    ]


def make_answers(items: Sequence[Item], right: int, *, start: int = 0) -> list[ItemAnswer]:
    """Make answers of which ``right`` are right, beginning with the one at ``start``."""
    return [
        ItemAnswer(
            item=item.id,
            text=f"answer {n}",
            score=ItemScore(value=float(passed), passed=passed),
        )
        for n, item in enumerate(items)
        for passed in [start <= n < start + right]
    ]


def grade_answers(items: Sequence[Item], values: Sequence[float | None]) -> list[ItemAnswer]:
    return [
        ItemAnswer(
            item=item.id, text=f"answer {n}", score=ItemScore(value=value), loss=2.0, loss_tokens=5
        )
        for n, (item, value) in enumerate(zip(items, values, strict=True))
    ]


def test_a_gain_without_losses_ships() -> None:
    sets = {
        "target": make_items(50),
        "general": make_items(100, "general"),
        "safety": make_items(80, "safety"),
    }
    items = [item for part in sets.values() for item in part]
    base = [
        a for name, part in sets.items() for a in make_answers(part, 12 if name == "target" else 70)
    ]
    tuned = [
        a for name, part in sets.items() for a in make_answers(part, 44 if name == "target" else 70)
    ]
    healthy = [Failure(name="forgetting", found=False)]
    evaluation = make_evaluation(items, {"base": base, "tuned": tuned}, healthy, GATE)
    assert evaluation.verdict == "ship"
    assert list(evaluation.sets) == ["target", "general", "safety"]
    target = evaluation.sets["target"]
    assert (target.n, target.arms["base"].score, target.arms["tuned"].score) == (50, 0.24, 0.88)
    assert target.arms["tuned"].low < 0.88 < target.arms["tuned"].high
    assert [flip.line for flip in target.fixed] == list(range(13, 45)) and not target.broken
    assert target.fixed[0].prompt == "q12"


def test_a_found_failure_does_not_ship_whatever_the_gain() -> None:
    items = make_items(50) + make_items(100, "general") + make_items(80, "safety")
    base = make_answers(items[:50], 5) + make_answers(items[50:], 180)
    tuned = make_answers(items, 230)
    failures = [Failure(name="memorization", found=True)]
    evaluation = make_evaluation(items, {"base": base, "tuned": tuned}, failures, GATE)
    assert evaluation.verdict == "do_not_ship"
    assert evaluation.target is not None and evaluation.target.outcome == "helped"
    assert evaluation.reasons[0].failure == "memorization"


def test_what_cannot_be_scored_is_neither_right_nor_wrong() -> None:
    items = make_items(10)
    tuned = make_answers(items, 10)
    tuned[3] = ItemAnswer(
        item=items[3].id, text="?", score=ItemScore(note="the judge gave no grade")
    )
    del tuned[7]
    result = summarize_set(items, index_answers({"base": make_answers(items, 0), "tuned": tuned}))
    assert (result.n, result.arms["tuned"].n, result.arms["tuned"].unscored) == (10, 8, 2)
    assert result.arms["tuned"].score == 1.0
    assert result.difference is not None and result.difference.n == 8


def test_an_item_that_occurs_twice_counts_once() -> None:
    items = make_items(20)
    answers = {"base": make_answers(items, 3), "tuned": make_answers(items, 9)}
    assert summarize_set(items * 2, index_answers(answers)) == summarize_set(
        items, index_answers(answers)
    )


def test_graded_scores_flip_only_by_a_large_change_and_the_worst_first() -> None:
    items = make_items(4, scorer="chrf")
    base, tuned = [0.5, 0.9, 0.8, 0.1], [0.45, 0.2, 0.5, 0.9]
    answers = {"base": grade_answers(items, base), "tuned": grade_answers(items, tuned)}
    result = summarize_set(items, index_answers(answers))
    assert [flip.line for flip in result.broken] == [2, 3]
    assert [flip.change for flip in result.broken] == pytest.approx([-0.7, -0.3])
    assert [flip.line for flip in result.fixed] == [4]
    assert result.arms["tuned"].metric == "chrf"
    assert result.loss_difference is not None and result.loss_difference.value == 0


def test_only_base_arms_have_scores_and_what_the_set_can_show() -> None:
    items = make_items(50)
    answers = index_answers({"base": make_answers(items, 12)})
    result = summarize_set(items, answers)
    assert result.difference is None and result.provable == pytest.approx(0.16)
