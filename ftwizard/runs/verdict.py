"""Verdict on a run: whether the tuned model is better than its base, and on what evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from ftwizard.runs import paired_tests
from ftwizard.runs.answer_kind import AnswerKind
from ftwizard.runs.paired_tests import ALPHA, PairedTest
from ftwizard.text import format_count

Outcome = Literal["helped", "no_change", "worse", "base_suffices", "cannot_tell"]
ShipVerdict = Literal["ship", "do_not_ship", "cannot_tell"]
"""Of a whole evaluation (``runs/evaluation.py``)."""
Measure = Literal["match", "fields", "loss", "chrf", "score", "preferred", "moved", "ranked"]
"""``preferred``: share of pairs whose chosen answer is the more probable one; ``moved``: share of pairs
that training moved toward it; ``ranked``: how often a wanted answer gained more than an unwanted one."""
BASE = "the base model"
MARKS: dict[Outcome, str] = {
    "helped": "✓", "no_change": "!", "worse": "✗", "base_suffices": "=", "cannot_tell": "?",
}  # fmt: skip
BASE_SUFFICES = {
    "match": 0.95, "fields": 0.95, "chrf": 90.0, "score": 0.95, "preferred": 0.95, "ranked": 0.95,
}  # fmt: skip
"""Score of the base model from which there is nothing left to gain: its whole interval must be above."""
MIN_LOSS_CHANGE = 0.01
"""Share of the base model's loss below which a change is too small to matter, however certain."""
MIN_CHANGE = {
    "match": 0.1, "fields": 0.1, "loss": 0.02, "chrf": 2.0, "score": 0.02, "preferred": 0.1,
    "moved": 0.1, "ranked": 0.1,
}  # fmt: skip
"""A change whose whole interval is smaller does not count as one; of the loss: a share of it."""


class RowScores(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Scores of one model's answer to one row."""

    match: bool
    """Whether it is the expected one, as ``answer_kind.is_match`` compares."""
    loss: float | None = None
    """Mean negative log-likelihood per token of the expected answer, in nats."""
    fields: float | None = None
    """Share of right JSON fields, 0–1; None if the answers are not JSON."""
    chrf: float | None = None
    """chrF, 0–100: character n-grams in common with the expected answer; None unless free text."""
    score: float | None = None
    """Score of another grader, 0–1, which then decides on free text."""


class ScoredPair(NamedTuple):
    """The scores of both models on a row."""

    base: RowScores
    tuned: RowScores
    tokens: int
    """Answer tokens that the losses are means of."""


class RewardSpan(msgspec.Struct, frozen=True, kw_only=True):
    """Rewards of which scores of 0–1 are shares: the least and the greatest that any model got."""

    low: float
    high: float

    def to_share(self, reward: float) -> float:
        return (reward - self.low) / (self.high - self.low)

    def to_reward(self, share: float) -> float:
        return self.low + share * (self.high - self.low)


class MeasuredChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One measure over the test rows."""

    measure: Measure
    base: float
    tuned: float
    low: float
    high: float
    """The ends of the 95% interval of the change from base to tuned model."""
    p: float
    """Two-sided p-value of the paired test."""
    rows: int
    base_low: float = 0.0
    """Lower end of the 95% interval of ``base``; 0 for losses."""
    span: RewardSpan | None = None
    """Of scores that are shares of it."""

    @property
    def direction(self) -> int:
        """Return 1 if the tuned model is better, -1 if worse, 0 if these rows show neither."""
        if self.p >= ALPHA or self.low <= 0 <= self.high:
            return 0
        rises = self.low > 0
        return 1 if rises != (self.measure == "loss") else -1

    @property
    def is_small(self) -> bool:
        """Return whether the whole interval is too small to matter."""
        unit = self.base if self.measure == "loss" else 1.0
        return max(abs(self.low), abs(self.high)) <= MIN_CHANGE[self.measure] * unit


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether training helped."""

    outcome: Outcome
    kind: AnswerKind
    rows: int
    evidence: list[MeasuredChange]
    """The measures, the decisive one first."""

    def find(self, measure: Measure) -> MeasuredChange | None:
        return next((item for item in self.evidence if item.measure == measure), None)


def judge(kind: AnswerKind, pairs: Sequence[ScoredPair], span: RewardSpan | None = None) -> Verdict:
    """Judge the tuned model by the scores of at least one row.

    JSON and short answers are judged by those that are right, then by JSON fields; free text by
    its score if it has one, else by the loss, then by chrF. A measure that no row has is left out.
    ``span``: rewards that the scores are shares of. They may have no upper limit, so that none says
    that the base model suffices.
    """
    match = _test_match(pairs)
    loss = _test_mean("loss", pairs)
    decisive: MeasuredChange | None
    if score := _test_mean("score", pairs):
        if span:
            score = msgspec.structs.replace(score, span=span, base_low=0.0)
        outcome, decisive = _judge_score(score)
        evidence = [score, loss]
    elif kind == "text":
        chrf = _test_mean("chrf", pairs)
        outcome, decisive = _judge_text(loss, chrf)
        evidence = [loss, chrf]
    else:
        fields = _test_mean("fields", pairs)
        outcome, decisive = _judge_answers(match, fields)
        evidence = [match, fields, loss]
    ordered = [item for item in evidence if item]
    ordered.sort(key=lambda item: item is not decisive)
    return Verdict(outcome=outcome, kind=kind, rows=len(pairs), evidence=ordered)


def judge_measure(decisive: MeasuredChange, others: Sequence[MeasuredChange] = ()) -> Verdict:
    """Judge the tuned model by one measure; ``others`` are reported next to it."""
    outcome, _ = _judge_score(decisive)
    return Verdict(outcome=outcome, kind="short", rows=decisive.rows, evidence=[decisive, *others])


def _judge_answers(
    match: MeasuredChange, fields: MeasuredChange | None
) -> tuple[Outcome, MeasuredChange]:
    if not match.direction and fields and fields.direction:
        return _judge_score(fields)
    return _judge_score(match)


def _judge_score(evidence: MeasuredChange) -> tuple[Outcome, MeasuredChange]:
    if evidence.direction:
        return ("helped" if evidence.direction > 0 else "worse"), evidence
    if _suffices(evidence):
        return "base_suffices", evidence
    return ("no_change" if evidence.is_small else "cannot_tell"), evidence


def _judge_text(
    loss: MeasuredChange | None, chrf: MeasuredChange | None
) -> tuple[Outcome, MeasuredChange | None]:
    first = loss or chrf
    if first is None:
        return "cannot_tell", None
    if loss and loss.direction:
        if abs(loss.tuned - loss.base) < MIN_LOSS_CHANGE * loss.base:
            return "no_change", loss
        if chrf and chrf.direction == -loss.direction and not chrf.is_small:
            return "cannot_tell", loss
        if loss.direction > 0 and chrf and not chrf.direction and _suffices(chrf):
            return "base_suffices", chrf  # a loss near 0 falls by half with the same answers
        return ("helped" if loss.direction > 0 else "worse"), loss
    if chrf and chrf.direction and not chrf.is_small:
        return ("helped" if chrf.direction > 0 else "worse"), chrf
    if chrf and _suffices(chrf):
        return "base_suffices", chrf
    return ("no_change" if first.is_small else "cannot_tell"), first


def _suffices(evidence: MeasuredChange) -> bool:
    return evidence.base_low >= BASE_SUFFICES[evidence.measure]


def _test_match(pairs: Sequence[ScoredPair]) -> MeasuredChange:
    fixed = sum(pair.tuned.match and not pair.base.match for pair in pairs)
    broken = sum(pair.base.match and not pair.tuned.match for pair in pairs)
    right = sum(pair.base.match for pair in pairs)
    test = paired_tests.compare_outcomes(fixed, broken, len(pairs))
    low = paired_tests.bound_share(right, len(pairs)).low
    return _to_evidence("match", right / len(pairs), test, len(pairs), low)


def _test_mean(
    measure: Literal["loss", "fields", "chrf", "score"], pairs: Sequence[ScoredPair]
) -> MeasuredChange | None:
    values = [
        (getattr(pair.base, measure), getattr(pair.tuned, measure), float(pair.tokens))
        for pair in pairs
    ]
    complete = [row for row in values if row[0] is not None and row[1] is not None]
    if not complete:
        return None
    base, tuned, tokens = zip(*complete, strict=True)
    weights = tokens if measure == "loss" else [1.0] * len(base)
    mean = sum(b * w for b, w in zip(base, weights, strict=True)) / sum(weights)
    unit = 100 if measure == "chrf" else 1
    low = 0.0
    if measure != "loss":
        low = paired_tests.bound_mean([value / unit for value in base]).low * unit
    if measure == "score":  # as in the table of sets
        test = paired_tests.compare_scores(base, tuned)
    else:
        test = paired_tests.compare_means(base, tuned, weights)
    return _to_evidence(measure, mean, test, len(base), low)


def _to_evidence(
    measure: Measure, base: float, test: PairedTest, rows: int, base_low: float
) -> MeasuredChange:
    return MeasuredChange(
        measure=measure, base=base, tuned=base + test.change, low=test.low, high=test.high,
        p=test.p, rows=rows, base_low=base_low,
    )  # fmt: skip


def describe(verdict: Verdict | None, *, after_doubt: bool = False) -> str:
    """Describe a verdict in one sentence; None is a run that was not compared with its base.

    ``after_doubt``: whether the text before it already says that nobody can tell.
    """
    if verdict is None or not verdict.evidence:
        return "Cannot tell whether it helped: it was not compared with its base on test rows."
    first = verdict.evidence[0]
    facts = describe_change(first)
    certainty, second = _describe_certainty(first), _describe_second(verdict)
    match verdict.outcome:
        case "helped":
            return f"It helped: {facts} ({certainty}){second}."
        case "worse":
            return f"It did not help, it got worse: {facts} ({certainty}){second}."
        case "no_change":
            bound = certainty if first.direction else f"at most {_describe_most(first)}"
            return f"It did not help: {facts} ({bound}){second}."
        case "base_suffices":
            return f"The base model already does this: {facts}."
    doubt = f"{facts[0].upper()}{facts[1:]}" if after_doubt else f"Cannot tell: {facts}"
    if first.direction:  # the two measures of free text contradict each other
        return f"{doubt}{second}."
    rows = _count_rows(first)
    if first.base == first.tuned:
        return f"{doubt}; {rows} cannot exclude a change{second}."
    return f"{doubt}, which can be chance on {rows} ({format_p(first.p)}){second}."


def describe_change(evidence: MeasuredChange, rival: str = BASE) -> str:
    """Describe a measure of the tuned model and of its rival, without a verb of judgment."""
    base, tuned = evidence.base, evidence.tuned
    unchanged = evidence.is_small or not evidence.direction
    if evidence.measure == "match":
        right, before = (round(share * evidence.rows) for share in (tuned, base))
        verb = "is" if evidence.rows == 1 else "are"
        answers = format_count(evidence.rows, "test answer")
        return f"{right:,} of {answers} {verb} right, {before:,} with {rival}"
    if evidence.measure in ("preferred", "moved"):
        count, before = (round(share * evidence.rows) for share in (tuned, base))
        pairs = format_count(evidence.rows, "test pair")
        bounds = _format_bounds(paired_tests.bound_share(count, evidence.rows))
        if evidence.measure == "moved":
            return f"training moved {count:,} of {pairs} toward the chosen answer ({bounds})"
        return f"the chosen answer is the more probable one in {count:,} of {pairs} ({bounds}), {before:,} with {rival}"
    if evidence.measure == "ranked":
        bounds = f"{tuned:.0%} of comparisons"
        if rival == BASE:
            interval = paired_tests.Interval(base + evidence.low, base + evidence.high)
            bounds += f" ({_format_bounds(interval)}; {base:.0%} is chance)"
        else:
            bounds += f", {base:.0%} with {rival}"
        return f"a wanted answer gained more probability than an unwanted one in {bounds}"
    if evidence.measure == "fields":
        return f"{tuned:.0%} of the JSON fields are right, {base:.0%} with {rival}"
    if evidence.measure == "loss" and rival != BASE:
        return f"test loss is {tuned:.3f}, {base:.3f} with {rival}"
    if evidence.measure == "loss":
        if unchanged and f"{base:.3f}" == f"{tuned:.3f}":
            return f"test loss stayed at {tuned:.3f}"
        verb = "fell" if tuned < base else "rose"
        return f"test loss {verb} from {base:.3f} to {tuned:.3f}"
    if evidence.measure == "score":
        if span := evidence.span:
            rewards = (f"{span.to_reward(share):.3g}".replace("-", "−") for share in (tuned, base))
            return f"the mean reward is {next(rewards)}, {next(rewards)} with {rival}"
        return f"the mean score is {tuned:.0%}, {base:.0%} with {rival}"
    if rival != BASE:
        return f"chrF is {tuned:.0f}, {base:.0f} with {rival}"
    if unchanged and f"{base:.0f}" == f"{tuned:.0f}":
        return f"answers are as close to the expected ones as with {BASE}, chrF {tuned:.0f}"
    nearness = "closer to" if tuned > base else "further from"
    return f"answers are {nearness} the expected ones, chrF {base:.0f} → {tuned:.0f}"


def _describe_certainty(evidence: MeasuredChange) -> str:
    """Describe the rows, and the p-value or the interval of the change."""
    if evidence.measure == "match":
        return format_p(evidence.p)
    if evidence.measure == "preferred":
        ends = f"{evidence.low * 100:+.0f} to {evidence.high * 100:+.0f}".replace("-", "−")
        return f"a change of {ends} points, {format_p(evidence.p)}"
    rows = _count_rows(evidence)
    if evidence.measure != "loss" or not evidence.base:
        return f"{rows}, {format_p(evidence.p)}"
    low, high = sorted(abs(end / evidence.base) for end in (evidence.low, evidence.high))
    if evidence.low <= 0 <= evidence.high:
        return f"{rows}, {format_p(evidence.p)}"
    if evidence.high < 0:
        return f"{low:.0%} to {min(1.0, high):.0%} less on {rows}"  # the bootstrap may go below 0
    return f"{low:.0%} to {high:.0%} more on {rows}"


def _count_rows(evidence: MeasuredChange) -> str:
    is_pair = evidence.measure in ("preferred", "moved")
    return format_count(evidence.rows, "test pair" if is_pair else "test row")


def _format_bounds(interval: paired_tests.Interval) -> str:
    return f"{interval.low * 100:.0f}–{interval.high * 100:.0f}%"


def _describe_most(evidence: MeasuredChange) -> str:
    """Describe the largest gain that the rows do not exclude."""
    if evidence.measure == "loss":
        return f"{min(1.0, max(0.0, -evidence.low / evidence.base)):.0%} less on {format_count(evidence.rows, 'test row')}"
    points = evidence.high if evidence.measure == "chrf" else evidence.high * 100
    return f"{math.ceil(max(0.0, points) - 1e-9)} points better"


def _describe_second(verdict: Verdict) -> str:
    """Describe the second measure: what agrees with the first, or contradicts it."""
    first = verdict.evidence[0]
    if first.measure == "preferred":
        moved = verdict.find("moved")
        if moved is None or not moved.direction or verdict.outcome == "helped":
            return ""
        return f", although {describe_change(moved)}" if moved.direction > 0 else ""
    second = verdict.find("chrf" if first.measure == "loss" else "loss")
    if second is None or second is first or not second.direction:
        return ""
    if first.measure == "loss":
        link = "; " if second.direction == first.direction else ", but "
        return f"{link}{describe_change(second)}"
    agrees = second.direction == first.direction
    return "" if agrees else f", although {describe_change(second)}"


def format_p(p: float) -> str:
    """Format a p-value without blanks, at which it could be wrapped."""
    return "p<0.001" if p < 0.001 else f"p={p:.2g}" if p < 0.1 else f"p={p:.2f}"
