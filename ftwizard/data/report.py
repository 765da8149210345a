"""What is to be said of a data file: its format, its rows, and every problem with its lines."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

import msgspec

from ftwizard.data import checks
from ftwizard.data.container import FileProblem
from ftwizard.data.conversation import Conversation
from ftwizard.data.read import Problem, Row, Table

SHOWN_LINES = 1000
PREVIEW_ROWS = 100

Severity = Literal["error", "warning"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of problem, and every place it was found at."""

    severity: Severity
    code: str
    """Stable."""
    message: str
    fix: str
    count: int
    lines: list[int]
    """1-based; at most ``SHOWN_LINES`` of them, ``count`` is exact."""


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """One row to look at."""

    line: int
    conversation: Conversation


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What ``ftwizard check --json`` prints."""

    verdict: Literal["ok", "warning", "error"]
    format: str | None
    rows: int
    """Good and bad ones."""
    usable: int
    findings: list[Finding]
    tokens: dict[str, int] | None
    """Of the usable rows; None where they were not counted, which takes a model's tokenizer."""
    trained_tokens: dict[str, int] | None
    """Those of them that carry loss; None as ``tokens``."""
    path: str
    """The file that was read; it is what a plan names."""
    source: str | None
    """Where the file is from, in words, if it was fetched."""
    sha256: str | None
    """Of the file's bytes; None where they could not be read as rows."""
    preview: list[Preview]
    """The first rows."""


def report(table: Table, source: str | None = None) -> Report:
    """Group a file's problems by their code; ``source`` says where the file was fetched from.

    Rows that can be used are checked for what is worth a second look.
    """
    found = [
        *_findings(table.problems, "error"),
        *_findings(checks.notes(table.rows), "warning"),
    ]
    return Report(
        verdict=found[0].severity if found else "ok",
        format=table.format,
        rows=table.count,
        usable=len(table.rows),
        findings=found,
        tokens=None,
        trained_tokens=None,
        path=table.path,
        source=source,
        sha256=table.sha256,
        preview=[_preview(row) for row in table.rows[:PREVIEW_ROWS]],
    )


def of_file(path: Path, problem: FileProblem) -> Report:
    """Return the report on a file of which no row could be read."""
    finding = Finding(
        severity="error", code=problem.code, message=problem.message, fix=problem.hint, count=1,
        lines=[],
    )  # fmt: skip
    return Report(
        verdict="error", format=None, rows=0, usable=0, findings=[finding], tokens=None,
        trained_tokens=None, path=str(path), source=None, sha256=None, preview=[],
    )  # fmt: skip


def _findings(problems: list[Problem], severity: Severity) -> list[Finding]:
    counts = Counter(problem.code for problem in problems)
    found: list[Finding] = []
    for code, count in counts.most_common():
        these = [problem for problem in problems if problem.code == code]
        first = these[0]
        found.append(
            Finding(
                severity=severity,
                code=code,
                message=first.message,
                fix=first.fix,
                count=count,
                lines=[problem.line for problem in these[:SHOWN_LINES]],
            )
        )
    return found


def _preview(row: Row) -> Preview:
    return Preview(line=row.line, conversation=row.conversation)
