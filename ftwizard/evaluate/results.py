"""Results of an evaluation: scores of the models on each set, paired differences, and flips."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from ftwizard.diagnosis.pair_lengths import LengthRule
from ftwizard.evaluate import near_rows, preference_results
from ftwizard.evaluate.failures.inputs import (
    TRAIN,
    Pair,
    compare_pairs,
    pair_answers,
    round_score,
    to_flip,
)
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.preference_results import Answers
from ftwizard.plan.schema import Gate
from ftwizard.runs import paired_tests, ship_verdict, verdict
from ftwizard.runs.evaluation import (
    ArmScore,
    Evaluation,
    Failure,
    Flip,
    ItemAnswer,
    PairedDifference,
    SetResult,
)
from ftwizard.runs.verdict import AnswerKind, RewardSpan, RowScores, ScoredPair, Verdict

STYLE_SCORERS = ("chrf", "rouge")
"""Scorers of how far an answer resembles the expected one, right or wrong."""
MIN_FLIP_CHANGE = 0.2
"""Least change of a graded score that is a flip: another wording of the same answer moves chrF by
about half of it."""


def make_evaluation(
    items: Iterable[Item],
    answers: Mapping[str, Iterable[ItemAnswer]],
    failures: Sequence[Failure],
    gate: Gate,
    rows: Sequence[near_rows.Row] = (),
    lengths: LengthRule | None = None,
    span: RewardSpan | None = None,
) -> Evaluation:
    """Summarize the scored answers of base, prompted (if any) and tuned model, and judge them.

    Items that occur twice count once, and of several answers to an item the last one counts.
    ``rows``: lines, prompts and answers of the training set, of which flips and the examples of
    failures name the nearest. ``lengths``: how far length alone tells the pairs trained on apart. ``span``:
    rewards that scores by rewards are shares of. Items that no model was asked are left out, and so are
    items from the training set, which show overfitting.
    """
    by_arm = index_answers(answers)
    asked = {item for lines in by_arm.values() for item in lines}
    items = [i for i in _drop_duplicates(items) if i.set != TRAIN and i.id in asked]
    sets = {
        name: summarize_set([item for item in items if item.set == name], by_arm, span)
        for name in dict.fromkeys(item.set for item in items)
    }
    target = [item for item in items if item.set == "target"]
    sets, failures = _link_rows(sets, failures, rows)
    return ship_verdict.judge_evaluation(
        sets,
        failures,
        gate,
        target=judge_target(target, by_arm, "base", span),
        over_prompted=judge_target(target, by_arm, "prompted", span),
        over_parent=judge_target(target, by_arm, "parent", span),
        shortcut=preference_results.find_shortcut(target, by_arm, lengths),
    )


def _link_rows(
    sets: dict[str, SetResult], failures: Sequence[Failure], rows: Sequence[near_rows.Row]
) -> tuple[dict[str, SetResult], list[Failure]]:
    """Return the same results, whose flips and examples name the training rows near to them."""
    flips = [flip for result in sets.values() for flip in (*result.broken, *result.fixed)]
    flips += [example for failure in failures for example in failure.examples]
    queries = [f"{flip.prompt}\n{flip.tuned}" for flip in flips]
    near = dict(zip(queries, near_rows.find_near_rows(queries, rows), strict=True))

    def link(linked: Sequence[Flip]) -> list[Flip]:
        return [replace(flip, near=near[f"{flip.prompt}\n{flip.tuned}"]) for flip in linked]

    results = {
        name: replace(result, fixed=link(result.fixed), broken=link(result.broken))
        for name, result in sets.items()
    }
    return results, [replace(failure, examples=link(failure.examples)) for failure in failures]


def index_answers(answers: Mapping[str, Iterable[ItemAnswer]]) -> Answers:
    return {arm: {answer.item: answer for answer in lines} for arm, lines in answers.items()}


def summarize_set(
    items: Sequence[Item], answers: Answers, span: RewardSpan | None = None
) -> SetResult:
    """Summarize one set; an item without an answer counts as one that could not be scored."""
    span = span if any(item.scorer == "rewards" for item in items) else None
    items = _drop_duplicates(items)
    if {item.scorer for item in items} == {"wanted"}:
        return preference_results.summarize_labeled(items, answers)
    is_binary = _is_binary(items, answers)
    if is_binary:
        answers = {
            arm: {item: round_score(answer) for item, answer in lines.items()}
            for arm, lines in answers.items()
        }
    pairs = _pair_scored(items, answers, "base", "tuned")
    before = _pair_scored(items, answers, "base", "prompted")
    flips = [to_flip(pair, span) for pair in pairs if abs(pair.change) >= MIN_FLIP_CHANGE]
    flips.sort(key=_rank_flip)
    return SetResult(
        n=len(items),
        arms={
            arm: _summarize_arm(items, lines, is_binary, span)
            for arm, lines in answers.items()
            if any(item.id in lines for item in items)
        },
        difference=_compare(pairs),
        over_prompted=_compare(_pair_scored(items, answers, "prompted", "tuned")),
        over_parent=_compare(_pair_scored(items, answers, "parent", "tuned")),
        loss_difference=_compare_losses(items, answers),
        provable=_find_provable(pairs or before, len(items), is_binary),
        is_identical=bool(pairs)
        and all(p.base.text == p.tuned.text for p in pairs)
        and any(p.base.text for p in pairs),
        span=span,
        fixed=[flip for flip in flips if flip.change > 0],
        broken=[flip for flip in flips if flip.change < 0],
    )


def judge_target(
    items: Sequence[Item], answers: Answers, rival: str, span: RewardSpan | None = None
) -> Verdict | None:
    """Judge whether the tuned model is better than a rival on the target set; None if not compared.

    Items whose answers can be checked decide; resemblance is judged where there are none.
    """
    items = [item for item in items if item.scorer not in STYLE_SCORERS] or items
    scorers = {item.scorer for item in items}
    if scorers == {"prefers"}:
        return preference_results.judge_pairs(items, answers, rival)
    if scorers == {"wanted"}:
        return preference_results.judge_labeled(items, answers, rival)
    pairs = _pair_scored(items, answers, rival, "tuned")
    if not pairs:
        return None
    kind: AnswerKind = "json" if scorers == {"json"} else "short"
    if not _is_binary(items, answers):
        kind = "text"
    measure = "fields" if kind == "json" else "score"
    if scorers <= set(STYLE_SCORERS):
        measure = "chrf" if scorers == {"chrf"} else "rouge"
    scored = [
        ScoredPair(
            _to_row_scores(pair.base, measure, kind),
            _to_row_scores(pair.tuned, measure, kind),
            max(1, pair.base.loss_tokens),
        )
        for pair in pairs
    ]
    return verdict.judge(kind, scored, span if scorers == {"rewards"} else None)


def _to_row_scores(answer: ItemAnswer, measure: str, kind: AnswerKind) -> RowScores:
    value = answer.value or 0.0
    graded: dict[str, Any] = {}
    if kind == "json" or kind == "text":
        graded[measure] = value * 100 if measure == "chrf" else value
    return RowScores(match=_is_right(answer), loss=_get_loss(answer), **graded)


def _drop_duplicates(items: Iterable[Item]) -> list[Item]:
    return list({item.id: item for item in items}.values())


def _get_loss(answer: ItemAnswer) -> float | None:
    """Return the loss of an answer; None also for NaN, which no test can compare."""
    return answer.loss if answer.loss is not None and math.isfinite(answer.loss) else None


def _is_right(answer: ItemAnswer) -> bool:
    return bool(answer.score and answer.score.passed)


def _is_binary(items: Sequence[Item], answers: Answers) -> bool:
    """Return whether every scored answer of a set is right or wrong, none graded."""
    return all(
        answer.score.passed is not None
        for lines in answers.values()
        for item in items
        if (answer := lines.get(item.id)) and answer.score and answer.value is not None
    )


def _summarize_arm(
    items: Sequence[Item],
    answers: Mapping[str, ItemAnswer],
    is_binary: bool,
    span: RewardSpan | None,
) -> ArmScore:
    lines = [answers.get(item.id) for item in items]
    scores = [line.value for line in lines if line and line.value is not None]
    bounds = paired_tests.bound_scores(scores)
    losses = [
        (loss, max(1, line.loss_tokens))
        for line in lines
        if line and (loss := _get_loss(line)) is not None
    ]
    tokens = sum(count for _, count in losses)
    metrics = {
        preference_results.METRICS.get(item.scorer, "accuracy" if is_binary else item.scorer)
        for item in items
    }
    return ArmScore(
        score=math.fsum(scores) / len(scores) if scores else 0.0,
        low=bounds.low,
        high=bounds.high,
        metric=_name_span(span) if span else metrics.pop() if len(metrics) == 1 else "mean_score",
        n=len(scores),
        unscored=len(items) - len(scores),
        loss=math.fsum(loss * count for loss, count in losses) / tokens if tokens else None,
    )


def _name_span(span: RewardSpan) -> str:
    return f"reward ({span.low:.3g} to {span.high:.3g})".replace("-", "−")


def _pair_scored(items: Sequence[Item], answers: Answers, rival: str, model: str) -> list[Pair]:
    """Return the items that both models have a score for."""
    pairs = pair_answers(items, answers.get(rival, {}), answers.get(model, {}))
    return [pair for pair in pairs if pair.is_scored]


def _compare(pairs: Sequence[Pair]) -> PairedDifference | None:
    return PairedDifference.from_test(compare_pairs(pairs), len(pairs)) if pairs else None


def _compare_losses(items: Sequence[Item], answers: Answers) -> PairedDifference | None:
    """Compare the losses of base and tuned model per token of the expected answers."""
    rows = [
        (before, after, float(max(1, pair.base.loss_tokens)))
        for pair in pair_answers(items, answers.get("base", {}), answers.get("tuned", {}))
        if (before := _get_loss(pair.base)) is not None
        if (after := _get_loss(pair.tuned)) is not None
    ]
    if not rows:
        return None
    first, second, tokens = zip(*rows, strict=True)
    return PairedDifference.from_test(paired_tests.compare_means(first, second, tokens), len(rows))


def _find_provable(pairs: Sequence[Pair], n: int, is_binary: bool) -> float | None:
    """Return the smallest net change that can be shown.

    The share of differing items is that of ``pairs``, or the usual one without any. For graded
    scores it is half the interval of the change.
    """
    if not is_binary:
        difference = _compare(pairs)
        return (difference.high - difference.low) / 2 if difference else None
    if not pairs:
        return paired_tests.find_provable_change(n)
    differing = sum(pair.change != 0 for pair in pairs)
    return paired_tests.find_provable_change(len(pairs), differing / len(pairs))


def _rank_flip(flip: Flip) -> tuple[float, int]:
    """Order flips by the size of the change, then as in the file."""
    return -abs(flip.change), flip.line or 0
