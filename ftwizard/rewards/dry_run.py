"""Dry run of rewards on a few rows: the expected answer, another row's answer, and an empty one.

A reward that gives all of them the same teaches nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from ftwizard.errors import DECLINED, FAILED, FtwizardError
from ftwizard.graders.trial import pick_wrong
from ftwizard.rewards.packaged import PACKAGED
from ftwizard.rewards.reward import Reward, RewardError, name_uniquely
from ftwizard.rewards.rows import PromptRow, make_batch
from ftwizard.rewards.scoring import Scorer, open_scorers, sum_rewards
from ftwizard.text import format_count, make_lines_visible

DRY_ROWS = 10
ANSWERS = ("expected answer", "another row's", "empty")
"""What is scored for each row."""
TELLS = "the rewards tell the expected answer from another row's and from an empty one"
"""What rewards do that nothing is wrong with."""
POOL_ROWS = 200
"""Rows among whose answers another one is looked for."""
TEMPLATE = "{answer}"
_OTHER = "This answer is wrong."
"""Tried where the rows have no answers."""

WEAK_CODES = frozenset({"no_signal", "other_as_high", "empty_as_high"})
"""Codes of errors that do not keep a function from running: ``weak-grader`` allows them."""
Severity = Literal["error", "warning"]
Values = tuple[float | None, ...]


class RewardFinding(msgspec.Struct, frozen=True, kw_only=True):
    """What a dry run says of a reward, or of all together."""

    severity: Severity
    code: str
    reward: str
    """Name of the reward; empty for the sum."""
    message: str
    fix: str
    lines: tuple[int, ...] = ()
    """Lines of the rows."""


class RewardScores(msgspec.Struct, frozen=True, kw_only=True):
    """What a reward gave to each row's answers; the lists are empty if it failed."""

    name: str
    function: str
    weight: float
    expected: Values = ()
    """Empty where the rows have no answers."""
    other: Values = ()
    empty: Values = ()


class DryRow(msgspec.Struct, frozen=True, kw_only=True):
    """The answers that were tried for a row."""

    line: int
    expected: str | None
    other: str


class DryRun(msgspec.Struct, frozen=True, kw_only=True):
    """Rewards of a few rows, and what they say."""

    verdict: Literal["ok", "warning", "error"]
    rows: tuple[DryRow, ...]
    rewards: tuple[RewardScores, ...]
    total: RewardScores | None
    """The weighted sum; None if a reward failed."""
    findings: tuple[RewardFinding, ...]
    printed: str = ""
    """What the user's functions printed."""

    @property
    def is_allowable(self) -> bool:
        """Return whether a training may start with ``weak-grader`` allowed at most."""
        errors = (finding for finding in self.findings if finding.severity == "error")
        return all(finding.code in WEAK_CODES for finding in errors)


def try_rewards(
    rewards: Sequence[Reward],
    rows: Sequence[PromptRow],
    count: int = DRY_ROWS,
    *,
    template: str = TEMPLATE,
) -> DryRun:
    """Score the first ``count`` rows; the answers of all are tried as those of others.

    ``template``: the form of a right answer, around ``{answer}``. Raises FtwizardError for a reward
    that the plan names wrongly.
    """
    tried = _choose_answers(rows, count, template)
    chosen = rows[:count]
    scores: list[RewardScores] = []
    findings: list[RewardFinding] = []
    with open_scorers(rewards) as scorers:
        for name, scorer in zip(name_uniquely(rewards), scorers, strict=True):
            try:
                score = _score(name, scorer, chosen, tried)
            except RewardError as error:
                findings.append(_report_error(name, error))
                score = _make_scores(name, scorer.reward)
            scores.append(score)
        printed = "\n".join(filter(None, (scorer.printed.strip() for scorer in scorers)))
    total = None if findings else _sum(rewards, scores)
    for reward, score in zip(rewards, scores, strict=True):
        findings += _judge_reward(reward, score, tried)
    if total is not None:
        findings += _judge_total(rewards, total, tried, findings)
    severities = {finding.severity for finding in findings}
    return DryRun(
        verdict="error" if "error" in severities else ("warning" if severities else "ok"),
        rows=tuple(tried),
        rewards=tuple(scores),
        total=total,
        findings=tuple(findings),
        printed=make_lines_visible(printed),
    )


def _choose_answers(rows: Sequence[PromptRow], count: int, template: str) -> list[DryRow]:
    pool = [row.reference for row in rows[:POOL_ROWS] if row.reference]
    tried = []
    for row in rows[:count]:
        other = pick_wrong(row.reference, pool) if row.reference else (pool or [_OTHER])[0]
        expected = template.replace("{answer}", row.reference) if row.reference else None
        tried.append(
            DryRow(line=row.line, expected=expected, other=template.replace("{answer}", other))
        )
    return tried


def _make_scores(name: str, reward: Reward) -> RewardScores:
    return RewardScores(name=name, function=reward.function, weight=reward.weight)


def _score(
    name: str, scorer: Scorer, rows: Sequence[PromptRow], tried: Sequence[DryRow]
) -> RewardScores:
    """Return the rewards of each kind of answer; raise RewardError."""
    answered = [(row, dry.expected) for row, dry in zip(rows, tried, strict=True) if dry.expected]
    expected: list[float | None] = []
    if answered:
        texts = [text for _, text in answered]
        expected = scorer.score(make_batch([row for row, _ in answered], texts))
    other = scorer.score(make_batch(rows, [dry.other for dry in tried]))
    empty = scorer.score(make_batch(rows, [""] * len(rows)))
    by_line = dict(zip((row.line for row, _ in answered), expected, strict=True))
    aligned = [by_line.get(row.line) for row in rows] if answered else []
    return msgspec.structs.replace(
        _make_scores(name, scorer.reward),
        expected=tuple(aligned), other=tuple(other), empty=tuple(empty),
    )  # fmt: skip


def _sum(rewards: Sequence[Reward], scores: Sequence[RewardScores]) -> RewardScores:
    def add(columns: Iterable[Values]) -> Values:
        return tuple(sum_rewards(rewards, values) for values in zip(*columns, strict=True))

    return RewardScores(
        name="sum",
        function="",
        weight=1.0,
        expected=add(score.expected for score in scores),
        other=add(score.other for score in scores),
        empty=add(score.empty for score in scores),
    )


def _report_error(name: str, error: RewardError) -> RewardFinding:
    return RewardFinding(
        severity="error", code=error.problem, reward=name, message=error.message, fix=error.hint,
        lines=(error.row_line,) if error.row_line is not None else (),
    )  # fmt: skip


def _judge_reward(
    reward: Reward, score: RewardScores, tried: Sequence[DryRow]
) -> list[RewardFinding]:
    """Return what is wrong with the values of one reward."""
    values = [v for v in (*score.expected, *score.other, *score.empty) if v is not None]
    if not score.other:
        return []
    if not values:
        fix = "Check that the rows have answers in the form that it reads."
        return [_make("error", "not_applicable", score.name, "applies to none of the rows.", fix)]
    if len(set(values)) > 1:
        return _find_missed(reward, score, tried)
    packaged = PACKAGED.get(reward.name) if reward.file is None else None
    is_form = packaged is not None and not packaged.uses_reference
    message = f"gave {values[0]:g} to every answer: there is nothing to learn from it."
    fix = (
        "If right answers have a form that the rows' answers lack, name it: --template"
        " '<answer>{answer}</answer>', in a plan recipe.grpo.answer_template. Else compare the completion with the reference."
    )
    can_tell = bool(score.expected) and not is_form
    return [_make("error" if can_tell else "warning", "no_signal", score.name, message, fix)]


def _find_missed(
    reward: Reward, score: RewardScores, tried: Sequence[DryRow]
) -> list[RewardFinding]:
    """Return the rows whose own answer a packaged function does not accept."""
    packaged = PACKAGED.get(reward.name) if reward.file is None else None
    if packaged is None or not packaged.uses_reference:
        return []
    skipped = tuple(d.line for d, v in zip(tried, score.expected, strict=False) if v is None)
    missed = tuple(
        d.line
        for d, expected, other in zip(tried, score.expected, score.other, strict=False)
        if expected is not None and other is not None and other >= expected
    )
    findings = []
    if skipped:
        message = (
            f"does not apply to {format_count(len(skipped), 'row')}: no reference that it reads."
        )
        fix = "Add the answer, or let another reward score these rows."
        findings.append(_make("warning", "no_reference", score.name, message, fix, skipped))
    if missed:
        message = f"gave another row's answer as much as the expected one in {format_count(len(missed), 'row')}."
        fix = "Check the answers of these rows, and the options of the reward."
        findings.append(_make("warning", "other_as_high", score.name, message, fix, missed))
    return findings


def _judge_total(
    rewards: Sequence[Reward],
    total: RewardScores,
    tried: Sequence[DryRow],
    earlier: Sequence[RewardFinding],
) -> list[RewardFinding]:
    """Return what is wrong with the sum, which the training maximizes."""
    rows = [
        (dry.line, expected, other, empty)
        for dry, expected, other, empty in zip(
            tried, total.expected, total.other, total.empty, strict=False
        )
        if expected is not None
    ]
    if not rows or any(finding.severity == "error" for finding in earlier):
        return []
    if len({value for _, *values in rows for value in values}) == 1:
        return []  # each reward has its finding
    empty_lines = tuple(line for line, right, _, empty in rows if (empty or 0.0) >= right)
    other_lines = tuple(line for line, right, other, _ in rows if (other or 0.0) >= right)
    if len(empty_lines) == len(rows):
        message = "An empty answer gets as much as the expected one in every row."
        fix = "Training would teach to answer nothing. Add a reward for the right answer."
        return [_make("error", "empty_as_high", "", message, fix, empty_lines)]
    if len(other_lines) < len(rows):
        return []
    functions = [PACKAGED.get(reward.name) if reward.file is None else None for reward in rewards]
    if all(function is not None and not function.uses_reference for function in functions):
        message = "The rewards judge the form of an answer, not whether it is right."
        fix = (
            "Add a reward that compares it with the reference, unless the form is all that counts."
        )
        return [_make("warning", "form_only", "", message, fix)]
    message = "Another row's answer gets as much as the expected one in every row."
    fix = "Compare the completion with the reference of its row."
    return [_make("error", "other_as_high", "", message, fix, other_lines)]


def _make(
    severity: Severity, code: str, name: str, message: str, fix: str, lines: tuple[int, ...] = ()
) -> RewardFinding:
    message = f"{name} {message}" if name else message
    return RewardFinding(
        severity=severity, code=code, reward=name, message=message, fix=fix, lines=lines
    )


def require_signal(report: DryRun, *, allowed: bool) -> list[str]:
    """Return the cautions of a dry run; raise FtwizardError for an error that is not ``allowed``.

    A reward that fails is never allowed.
    """
    for finding in report.findings:
        if finding.severity != "error" or (allowed and finding.code in WEAK_CODES):
            continue
        is_weak = finding.code in WEAK_CODES
        insist = " To train with it anyway: --allow weak-grader." if is_weak else ""
        exit_code = DECLINED if is_weak else FAILED
        raise FtwizardError(finding.message, f"{finding.fix}{insist}", exit_code, code="reward")
    return [finding.message for finding in report.findings]


def format_values(score: RewardScores, values: Values) -> str:
    """Format rewards as their mean, with the range if they differ."""
    numbers = [value for value in values if value is not None]
    if not score.other:
        return "failed"
    if not numbers:
        return "–"
    low, high, mean = min(numbers), max(numbers), sum(numbers) / len(numbers)
    return f"{low:.3g}" if low == high else f"{mean:.3g} ({low:.3g} to {high:.3g})"
