"""Verdict on a run: whether the tuned model is better than its base, and on what evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from ftwizard.runs import paired_tests
from ftwizard.runs.paired_tests import ALPHA, PairedTest
from ftwizard.text import format_count

AnswerKind = Literal["json", "short", "text"]
"""``json``: objects, compared by value; ``short``: labels and short facts, compared as text; ``text``:
free text, which has no single right wording."""
Outcome = Literal["helped", "no_change", "worse", "base_suffices", "cannot_tell"]
ShipVerdict = Literal["ship", "do_not_ship", "cannot_tell"]
"""Of a whole evaluation (``runs/evaluation.py``)."""
Measure = Literal[
    "match", "fields", "loss", "chrf", "rouge", "score", "preferred", "moved", "ranked",
]  # fmt: skip
"""``preferred``: share of pairs whose chosen answer is the more probable one; ``moved``: share of pairs
that training moved toward it; ``ranked``: how often a wanted answer gained more than an unwanted one."""
STYLE_MEASURES: Sequence[Measure] = ("loss", "chrf", "rouge")
"""Measures of how far answers resemble the expected ones, which wrong answers in their style do as well."""
BASE = "the base model"
MARKS: dict[Outcome, str] = {
    "helped": "✓", "no_change": "!", "worse": "✗", "base_suffices": "=", "cannot_tell": "?",
}  # fmt: skip
BASE_SUFFICES = 0.95
"""Score of the base model from which there is nothing left to gain: its whole interval must be above."""
MIN_CHANGE: dict[Measure, float] = {"loss": 0.02, "chrf": 2.0, "score": 0.02, "rouge": 0.02}
"""A change whose whole interval is smaller does not count as one: 0.1 where not named; of the loss: a
share of it."""


class RowScores(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Scores of one model's answer to one row."""

    match: bool
    """Whether it is the expected one."""
    loss: float | None = None
    """Mean negative log-likelihood per token of the expected answer, in nats."""
    fields: float | None = None
    """Share of right JSON fields, 0–1; None if the answers are not JSON."""
    chrf: float | None = None
    """chrF, 0–100: character n-grams in common with the expected answer; None unless free text."""
    rouge: float | None = None
    """ROUGE-L, 0–1; the same of words."""
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

    @classmethod
    def from_test(
        cls, measure: Measure, base: float, test: PairedTest, rows: int, base_low: float = 0.0
    ) -> MeasuredChange:
        return cls(
            measure=measure, base=base, tuned=base + test.change, low=test.low, high=test.high,
            p=test.p, rows=rows, base_low=base_low,
        )  # fmt: skip

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
        return max(abs(self.low), abs(self.high)) <= MIN_CHANGE.get(self.measure, 0.1) * unit


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether training helped."""

    outcome: Outcome
    kind: AnswerKind
    rows: int
    evidence: list[MeasuredChange]
    """The measures, the decisive one first."""

    @property
    def is_style(self) -> bool:
        """Return whether only resemblance was measured, not whether answers are right."""
        return bool(self.evidence) and self.evidence[0].measure in STYLE_MEASURES

    def find(self, measure: Measure) -> MeasuredChange | None:
        return next((item for item in self.evidence if item.measure == measure), None)


def judge(kind: AnswerKind, pairs: Sequence[ScoredPair], span: RewardSpan | None = None) -> Verdict:
    """Judge the tuned model by the scores of at least one row.

    JSON and short answers are judged by those that are right, then by JSON fields; free text by its score
    if it has one. Else only its resemblance is measured, by loss, chrF and ROUGE: whether it helped cannot be told.
    A measure that no row has is left out. ``span``: rewards that the scores are shares of. They may have no
    upper limit, so that none says that the base model suffices.
    """
    match = _test_match(pairs)
    loss = _test_mean("loss", pairs)
    outcome: Outcome = "cannot_tell"
    decisive: MeasuredChange | None
    if score := _test_mean("score", pairs):
        if span:
            score = msgspec.structs.replace(score, span=span, base_low=0.0)
        outcome, decisive = _judge_score(score)
        evidence = [score, loss]
    elif kind == "text":
        evidence = [loss, _test_mean("chrf", pairs), _test_mean("rouge", pairs)]
        decisive = next((item for item in evidence if item and item.direction), None)
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
    if evidence.base_low >= BASE_SUFFICES:
        return "base_suffices", evidence
    return ("no_change" if evidence.is_small else "cannot_tell"), evidence


def _test_match(pairs: Sequence[ScoredPair]) -> MeasuredChange:
    fixed = sum(pair.tuned.match and not pair.base.match for pair in pairs)
    broken = sum(pair.base.match and not pair.tuned.match for pair in pairs)
    right = sum(pair.base.match for pair in pairs)
    test = paired_tests.compare_outcomes(fixed, broken, len(pairs))
    low = paired_tests.bound_share(right, len(pairs)).low
    return MeasuredChange.from_test("match", right / len(pairs), test, len(pairs), low)


def _test_mean(
    measure: Literal["loss", "fields", "chrf", "rouge", "score"], pairs: Sequence[ScoredPair]
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
    return MeasuredChange.from_test(measure, mean, test, len(base), low)


def describe(verdict: Verdict | None, *, after_doubt: bool = False) -> str:
    """Describe a verdict in one sentence; None is a run that was not compared with its base.

    ``after_doubt``: whether the text before it already says that nobody can tell.
    """
    if verdict is None or not verdict.evidence:
        return "Cannot tell whether it helped: it was not compared with its base on test rows."
    first = verdict.evidence[0]
    facts = describe_change(first) + _describe_second(verdict)
    if verdict.is_style:
        nearness = {1: "Closer to", -1: "Further from", 0: "No closer to"}[first.direction]
        return (
            f"{nearness} your rows’ style: {facts}. Whether the content is right was not measured."
        )
    match verdict.outcome:
        case "helped":
            return f"It helped: {facts}."
        case "worse":
            return f"It got worse: {facts}."
        case "no_change":
            return f"It did not help: {facts}."
        case "base_suffices":
            return f"The base model already does this: {facts}."
    facts = f"{facts[0].upper()}{facts[1:]}" if after_doubt else f"Cannot tell: {facts}"
    if first.base == first.tuned:
        return f"{facts}."
    return f"{facts}. With {_count_rows(first)}, chance alone can do that."


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
        if evidence.measure == "moved":
            return f"training moved {count:,} of {pairs} toward the chosen answer"
        return f"the chosen answer is the more probable one in {count:,} of {pairs}, {before:,} with {rival}"
    if evidence.measure == "ranked":
        before_text = f"{base:.0%} is chance" if rival == BASE else f"{base:.0%} with {rival}"
        return f"a wanted answer gained more probability than an unwanted one in {tuned:.0%} of comparisons, {before_text}"
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
    name, factor = ("chrF", 1) if evidence.measure == "chrf" else ("ROUGE-L", 100)
    then, now = (f"{value * factor:.0f}" for value in (base, tuned))
    return f"{name} {then} → {now}" if rival == BASE else f"{name} is {now}, {then} with {rival}"


def _count_rows(evidence: MeasuredChange) -> str:
    is_pair = evidence.measure in ("preferred", "moved")
    return format_count(evidence.rows, "test pair" if is_pair else "test row")


def _describe_second(verdict: Verdict) -> str:
    """Describe what else was measured of resemblance, or what contradicts the share of pairs."""
    first, *others = verdict.evidence
    if verdict.is_style:
        return "".join(f", {describe_change(other)}" for other in others if other.direction)
    moved = verdict.find("moved") if first.measure == "preferred" else None
    if moved and moved.direction > 0 and verdict.outcome != "helped":
        return f", although {describe_change(moved)}"
    return ""
