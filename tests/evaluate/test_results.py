"""Tests of evaluate/results.py: scores, differences and flips out of scored answers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftwizard.evaluate.items import Item, ScorerName
from ftwizard.evaluate.results import index_answers, make_evaluation, summarize_set
from ftwizard.plan.schema import Gate
from ftwizard.runs.evaluation import (
    Action,
    Failure,
    Flip,
    ItemAnswer,
    ItemScore,
    SetResult,
)

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


OUTCOMES = st.lists(st.sampled_from([None, 0.0, 0.3, 0.5, 1.0]), min_size=12, max_size=12)


def make_set(base: list[float | None], tuned: list[float | None], *, binary: bool) -> SetResult:
    items = make_items(len(base), "general")
    answers = {"base": grade_answers(items, base), "tuned": grade_answers(items, tuned)}
    if binary:
        for lines in answers.values():
            for index, line in enumerate(lines):
                value = line.score.value if line.score else None
                passed = None if value is None else value >= 0.5
                score = ItemScore(value=None if passed is None else float(passed), passed=passed)
                lines[index] = msgspec.structs.replace(line, score=score)
    return summarize_set(items, index_answers(answers))


@settings(max_examples=40, deadline=None)
@given(OUTCOMES, OUTCOMES, st.booleans())
def test_the_models_swapped_are_the_mirror_image(
    base: list[float | None], tuned: list[float | None], binary: bool
) -> None:
    result, mirror = make_set(base, tuned, binary=binary), make_set(tuned, base, binary=binary)
    assert result.arms["base"] == mirror.arms["tuned"]
    assert [flip.item for flip in result.fixed] == [flip.item for flip in mirror.broken]
    change, back = result.difference, mirror.difference
    if change is None or back is None:
        assert change is back is None
        return
    assert change.value == pytest.approx(-back.value)
    tolerance = 1e-9 if binary else 0.05  # the bootstrap draws other rows
    assert (change.low, change.high) == pytest.approx((-back.high, -back.low), abs=tolerance)


@settings(max_examples=40, deadline=None)
@given(OUTCOMES, OUTCOMES, st.booleans())
def test_every_score_is_in_its_interval_and_every_item_is_counted(
    base: list[float | None], tuned: list[float | None], binary: bool
) -> None:
    result = make_set(base, tuned, binary=binary)
    for arm in result.arms.values():
        assert arm.n + arm.unscored == result.n == 12
        assert 0 <= arm.low <= arm.high <= 1
        assert not arm.n or arm.low - 1e-9 <= arm.score <= arm.high + 1e-9
    if change := result.difference:
        assert (
            -1 <= change.low <= change.value + 1e-9
            and change.value <= change.high + 1e-9 <= 1 + 2e-9
        )
        assert change.n <= min(arm.n for arm in result.arms.values())
        assert len(result.fixed) + len(result.broken) <= change.n


def test_items_that_nobody_was_asked_and_training_rows_are_left_out() -> None:
    items = [*make_items(10), *make_items(5, "train")]
    answers = {
        "base": make_answers(items[:6], 1),
        "tuned": make_answers([*items[:6], *items[10:]], 3),
    }
    evaluation = make_evaluation(items, answers, [], GATE)
    assert evaluation.sets.keys() == {"target"} and evaluation.sets["target"].n == 6


def test_flips_and_examples_name_the_training_rows_near_to_them() -> None:
    items = make_items(6)
    tuned = make_answers(items, 0)
    tuned[0] = msgspec.structs.replace(tuned[0], text="the answer of a row in the training set")
    answers = {"base": make_answers(items, 1), "tuned": tuned}
    rows = [(4, "Why?", "Because the answer of a row in the training set is so."), (5, "x", "y")]
    flip = Flip(item="e", prompt="Why?", expected="", base="", tuned=tuned[0].text, change=0)
    failures = [Failure(name="memorization", found=True, examples=[flip])]
    evaluation = make_evaluation(items, answers, failures, GATE, rows)
    (broken,) = evaluation.sets["target"].broken
    assert [row.line for row in broken.near] == [4] and broken.near[0].share > 0.5
    assert evaluation.failures[0].examples[0].near[0].line == 4
    assert evaluation.actions[0] == Action(kind="drop_rows", lines=[4])


def test_free_text_is_only_compared_by_resemblance() -> None:
    items = make_items(30, scorer="chrf")
    base = grade_answers(items, [0.4] * 30)
    tuned = [
        msgspec.structs.replace(a, loss=1.4 + n / 100)
        for n, a in enumerate(grade_answers(items, [0.42] * 30))
    ]
    evaluation = make_evaluation(items, {"base": base, "tuned": tuned}, [], GATE)
    assert evaluation.target is not None and evaluation.target.is_style
    assert evaluation.target.evidence[0].measure == "loss" and evaluation.verdict == "cannot_tell"
    change = evaluation.sets["target"].loss_difference
    assert change is not None and change.high < -0.3


def test_grades_of_a_judge_decide_before_the_loss() -> None:
    items = make_items(30, scorer="judge")
    answers = {
        "base": grade_answers(items, [0.5] * 30),
        "tuned": grade_answers(items, [1.0, 0.5, 0.5] * 10),
    }
    target = make_evaluation(items, answers, [], GATE).target
    assert target is not None and (target.outcome, target.evidence[0].measure) == (
        "helped",
        "score",
    )


def test_losses_that_are_nan_are_left_out() -> None:
    items = make_items(30, scorer="chrf")
    base = grade_answers(items, [0.4] * 30)
    tuned = [
        msgspec.structs.replace(answer, loss=math.nan)
        for answer in grade_answers(items, [0.1] * 30)
    ]
    evaluation = make_evaluation(items, {"base": base, "tuned": tuned}, [], GATE)
    assert evaluation.target is not None and evaluation.target.evidence[0].measure == "chrf"
    assert evaluation.sets["target"].loss_difference is None
    assert evaluation.sets["target"].arms["tuned"].loss is None


def test_items_that_can_be_checked_decide_before_resemblance() -> None:
    checked, alike = make_items(30), make_items(30, scorer="rouge")
    items = [*checked, *(msgspec.structs.replace(i, id=f"r-{i.id}") for i in alike)]
    answers = {
        arm: [*make_answers(items[:30], right), *grade_answers(items[30:], [score] * 30)]
        for arm, right, score in (("base", 20, 0.1), ("tuned", 2, 0.9))
    }
    target = make_evaluation(items, answers, [], GATE).target
    assert (
        target is not None and target.outcome == "worse" and target.evidence[0].measure == "match"
    )
    alone = make_evaluation(items[30:], {a: lines[30:] for a, lines in answers.items()}, [], GATE)
    assert alone.target is not None and alone.target.evidence[0].measure == "rouge"
    assert alone.verdict == "cannot_tell"
