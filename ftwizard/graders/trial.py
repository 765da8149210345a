"""Trial of a grader on a few rows: the right answer of each row, then a wrong one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from ftwizard.data import reader
from ftwizard.data.example import Example
from ftwizard.data.export.convert import move_answer
from ftwizard.data.format_names import FormatChoice
from ftwizard.data.io.read_options import AS_IS, ReadOptions
from ftwizard.errors import CANNOT_TELL, FtwizardError
from ftwizard.graders.grader_file import REFERENCE, GraderFile, find_reference
from ftwizard.graders.process import TIME_LIMIT_S, Grade, GraderProcess
from ftwizard.text import format_count, format_duration, make_lines_visible, make_visible

TRIAL_ROWS = 10
POOL_ROWS = 200
"""Rows among whose right answers a wrong one is looked for."""
SLOW_S = 1.0
"""A job grades several answers to each row, in each epoch."""
MAX_TIMEOUTS = 2
"""Answers without a score in time, after which the trial ends."""
_FALLBACK = "This answer is wrong."
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")

Code = Literal[
    "exception", "not_a_number", "nan", "timeout", "crashed", "all_zero", "all_equal",
    "wrong_as_high", "slow", "network",
]  # fmt: skip


class GradedItem(msgspec.Struct, frozen=True, kw_only=True):
    """A row as a grader gets it."""

    line: int
    item: Mapping[str, Any]
    reference: str
    """Its right answer, as a model would write it."""


class TrialRow(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of one row."""

    line: int
    right: str
    """The right answer."""
    right_grade: Grade
    wrong: str
    wrong_grade: Grade


def make_rows(
    items: Sequence[GradedItem], right: Sequence[Grade], wrong: Sequence[Grade]
) -> list[TrialRow]:
    """Return the scores of a trial elsewhere; its wrong answers were those of ``pick_wrongs``."""
    answers = pick_wrongs(items)
    return [
        TrialRow(
            line=item.line, right=item.reference, right_grade=grade, wrong=answer, wrong_grade=other
        )
        for item, answer, grade, other in zip(items, answers, right, wrong, strict=False)
    ]  # fmt: skip


def pick_wrongs(items: Sequence[GradedItem]) -> list[str]:
    """Return a wrong answer for each row."""
    references = [item.reference for item in items]
    return [pick_wrong(reference, references) for reference in references]


class TrialFinding(msgspec.Struct, frozen=True, kw_only=True):
    """What the scores say of the grader."""

    severity: Literal["error", "warning"]
    code: Code
    message: str
    fix: str
    lines: tuple[int, ...] = ()
    """Lines of the rows."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of a few rows, and what they say of the grader."""

    grader: str
    verdict: Literal["ok", "warning", "error"]
    rows: tuple[TrialRow, ...]
    findings: tuple[TrialFinding, ...]
    printed: str = ""
    """What the grader printed."""

    def describe(self) -> str:
        """Describe the scores: ``10 rows tried: right answers scored 1, wrong ones 0``."""
        return describe_scores(self.rows)


def read_items(
    path: Path,
    grader: GraderFile,
    *,
    field: str | None = None,
    format: FormatChoice = "auto",
    options: ReadOptions = AS_IS,
) -> list[GradedItem]:
    """Return the first rows of a data file that have a right answer.

    ``field``: where it is; by default, the first field that the grader names. Of a conversation, it
    is the last answer, which becomes the field ``reference_answer``. Raises FtwizardError where no
    row has one (``CANNOT_TELL``), and FileProblem for a file that cannot be read.
    """
    fields = [field] if field else list(grader.fields)
    items = []
    for line, example in reader.open_reader(path, format, options=options).examples():
        item = _make_item(example) if isinstance(example, Example) else None
        if item is None:
            continue
        reference = find_reference(item, fields) if not field or field in item else ""
        if reference:
            items.append(GradedItem(line=line, item=item, reference=reference))
        if len(items) == POOL_ROWS:
            break
    if not items:
        where = f"the field {make_visible(field, 60)}" if field else "a field with the right answer"
        raise FtwizardError(
            f"No row of {make_visible(str(path), 200)} has {where}.",
            f'Add it next to the messages, such as "{REFERENCE}": "42". Rows of other columns:'
            " --columns prompt=COLUMN,completion=COLUMN",
            CANNOT_TELL,
        )
    return items


def _make_item(example: Example) -> dict[str, Any] | None:
    """Return a row as it is uploaded for reinforcement; None if it has no prompt and answer."""
    example = move_answer(example, REFERENCE)
    return {"messages": example.messages, **example.extra} if example.kind == "prompt" else None


def try_grader(
    grader: GraderFile,
    items: Sequence[GradedItem],
    count: int = TRIAL_ROWS,
    *,
    time_limit_s: float = TIME_LIMIT_S,
) -> Trial:
    """Grade the right answer of each of the first rows, and a wrong one.

    Raises FtwizardError if the grader's file cannot be loaded.
    """
    rows: list[TrialRow] = []
    with GraderProcess(grader, time_limit_s=time_limit_s) as process:
        for item in items[:count]:
            wrong = pick_wrong(item.reference, (other.reference for other in items))
            rows.append(
                TrialRow(
                    line=item.line,
                    right=item.reference,
                    right_grade=process.grade(item.reference, item.item),
                    wrong=wrong,
                    wrong_grade=process.grade(wrong, item.item),
                )
            )
            grades = [grade for row in rows for grade in (row.right_grade, row.wrong_grade)]
            if sum(grade.problem == "timeout" for grade in grades) >= MAX_TIMEOUTS:
                break
        printed = process.printed
    findings = [*_find_failures(grader, rows), *judge_scores(rows), *_find_limits(grader, rows)]
    return Trial(
        grader=grader.path,
        verdict="error"
        if any(finding.severity == "error" for finding in findings)
        else ("warning" if findings else "ok"),
        rows=tuple(rows),
        findings=tuple(findings),
        printed=make_lines_visible(printed.strip()),
    )


def pick_wrong(right: str, others: Iterable[str]) -> str:
    """Return a wrong answer in the form of the right one: that of another row, if it differs."""
    normal = _normalize(right)
    for other in others:
        if _normalize(other) != normal:
            return other
    try:
        value = json.loads(right)
    except (ValueError, RecursionError):
        number = _NUMBER.fullmatch(right.strip())
        return str(float(right) + 1) if number else _FALLBACK
    if isinstance(value, bool):
        return json.dumps(not value)
    if isinstance(value, int | float):
        return json.dumps(value + 1)
    return "[]" if isinstance(value, list) and value else "{}"


def _normalize(text: str) -> object:
    """Return what all spellings of one answer have in common."""
    plain = text.strip().replace(",", "")
    if _NUMBER.fullmatch(plain):
        return float(plain)
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except (ValueError, RecursionError):
        return " ".join(text.casefold().split())


_PROBLEMS: dict[str, tuple[str, str]] = {
    "exception": ("raised an error", "Correct it, or return 0 for an answer that cannot be read."),
    "not_a_number": ("returned no number", "Return a float on every path through grade."),
    "nan": ("returned NaN or infinity", "Check divisions and logarithms; return 0 instead."),
    "timeout": ("was too slow", "Do less for each answer, such as without loops over long texts."),
    "crashed": ("crashed", "Check what it loads, and its memory."),
}


def _find_failures(grader: GraderFile, rows: Sequence[TrialRow]) -> list[TrialFinding]:
    """Return a finding for each kind of problem, with its first message."""
    findings = []
    for code, (happened, fix) in _PROBLEMS.items():
        lines, first = [], None
        for row in rows:
            failed = [g for g in (row.right_grade, row.wrong_grade) if g.problem == code]
            if failed:
                lines.append(row.line)
                first = first or failed[0]
        if first is None:
            continue
        at = f" ({Path(grader.path).name}, line {first.line})" if first.line else ""
        findings.append(
            TrialFinding(
                severity="error",
                code=code,  # type: ignore[arg-type]
                message=f"The grader {happened} on {format_count(len(lines), 'row')}:"
                f" {first.message}{make_visible(at)}.",
                fix=fix,
                lines=tuple(lines),
            )
        )
    return findings


def describe_scores(rows: Sequence[TrialRow]) -> str:
    """Describe what right and wrong answers scored."""
    right = _format_range(row.right_grade for row in rows)
    wrong = _format_range(row.wrong_grade for row in rows)
    return (
        f"{format_count(len(rows), 'row')} tried: right answers scored {right}, wrong ones {wrong}"
    )


def _format_range(grades: Iterable[Grade]) -> str:
    scores = [grade.score for grade in grades if grade.score is not None]
    if not scores:
        return "nothing"
    low, high = min(scores), max(scores)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def judge_scores(rows: Sequence[TrialRow]) -> list[TrialFinding]:
    """Return a finding where the scores do not tell right from wrong."""
    scored = [row for row in rows if row.right_grade.score is not None]
    rights = [row.right_grade.score for row in scored]
    if not rights:
        return []
    both = [
        (row, row.right_grade.score, row.wrong_grade.score)
        for row in scored
        if row.right_grade.score is not None and row.wrong_grade.score is not None
    ]
    lines = tuple(row.line for row in scored)
    if not any(rights):
        message = f"All {len(rights)} right answers scored 0."
        fix = "Check which field of the rows the grader reads, and in which form the answer is."
        return [_make_error("all_zero", message, fix, lines)]
    if len({score for _, right, wrong in both for score in (right, wrong)}) == 1:
        message = f"All answers scored {both[0][1]:g}, the right and the wrong ones."
        fix = "Compare the answer with the field of the row that has the right one."
        return [_make_error("all_equal", message, fix, lines)]
    confused = tuple(row.line for row, right, wrong in both if wrong >= right)
    if not confused:
        return []
    count = format_count(len(confused), "row")
    message = f"A wrong answer scored as high as the right one in {count}."
    fix = "Make the comparison stricter: the right answer needs the highest score."
    return [_make_error("wrong_as_high", message, fix, confused)]


def _make_error(code: Code, message: str, fix: str, lines: tuple[int, ...]) -> TrialFinding:
    return TrialFinding(severity="error", code=code, message=message, fix=fix, lines=lines)


def _find_limits(grader: GraderFile, rows: Sequence[TrialRow]) -> list[TrialFinding]:
    """Return cautions on speed, and on what the platforms' own processes do not have."""
    findings = []
    grades = [
        (grade.seconds, row.line) for row in rows for grade in (row.right_grade, row.wrong_grade)
    ]
    slowest, line = max(grades, default=(0.0, 0))
    if slowest > SLOW_S and all(row.right_grade.problem != "timeout" for row in rows):
        findings.append(
            TrialFinding(
                severity="warning",
                code="slow",
                message=f"An answer took {format_duration(slowest)}. A job grades several answers to"
                " each row, in each epoch.",
                fix="Do less for each answer; load data once, outside of the function.",
                lines=(line,),
            )
        )
    if grader.network:
        findings.append(
            TrialFinding(
                severity="warning",
                code="network",
                message=f"The grader imports {', '.join(grader.network)}. OpenAI and Foundry run it"
                " without a network.",
                fix="Do without the network, or grade with a Lambda function at Bedrock.",
            )
        )
    return findings
