"""Findings of a file, collected by code with counts, lines and causes."""

from __future__ import annotations

import heapq
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from ftwizard.data.example import RowProblem
from ftwizard.data.platforms import Severity, Target
from ftwizard.text import format_count

MAX_SHOWN_LINES = 1000
MAX_CAUSES = 4
"""Number of causes reported per code."""
_VALUES = re.compile(r"\d[\d,.]*|“[^”]*”")
"""Numbers and quotes, which differ between rows that have the same cause."""
_ORDER: tuple[Severity, ...] = ("error", "warning", "info")


class RowFinding(NamedTuple):
    """One finding in one row. The target sets its severity (``Target.severity``)."""

    code: str
    """One of assets/check_codes.toml."""
    message: str
    """The cause, with numbers and names of this row; text from the row goes through ``quote``."""
    fix: str
    """The next action."""

    @classmethod
    def from_problem(cls, problem: RowProblem) -> RowFinding:
        """Return the finding of a row that cannot be read."""
        return cls(problem.code, problem.message, problem.fix)


class FileFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One finding in the file as a whole."""

    code: str
    message: str
    fix: str
    count: int
    """Number of affected rows; exact."""
    lines: list[int]
    """Lines of these rows, 1-based, in order; at most ``MAX_SHOWN_LINES``."""


class LineCounter:
    """A count of lines, and the first ``MAX_SHOWN_LINES`` of them."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[int] = []

    def add(self, line: int) -> None:
        """Add a line; lines arrive in ascending order."""
        self.count += 1
        if len(self.first) < MAX_SHOWN_LINES:
            self.first.append(line)

    def merge(self, later: LineCounter, lines_before: int) -> None:
        """Add the lines of a later part of the file, which starts after ``lines_before`` lines."""
        self.count += later.count
        room = MAX_SHOWN_LINES - len(self.first)
        self.first.extend(line + lines_before for line in later.first[:room])


def describe_left_out(left_out: Sequence[FileFinding]) -> tuple[str, str]:
    """Return why no row is left, as the end of a message, and the hint."""
    if not left_out:
        return "the file has no rows", ""
    first = left_out[0]
    rows = format_count(first.count, "row")
    return f"{first.message} ({rows})", f"{first.fix[:1].upper()}{first.fix[1:]}."


class Cause(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A cause of a finding, at one line."""

    line: int
    message: str
    fix: str


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All findings of one code in a file."""

    severity: Severity
    code: str
    """Stable; one of assets/check_codes.toml."""
    message: str
    """The cause at the first line."""
    fix: str
    count: int
    """Exact."""
    lines: list[int]
    """1-based physical lines (rows in Parquet); the first ``MAX_SHOWN_LINES``."""
    also: list[Cause] = []
    """Other causes, each at its first line; at most ``MAX_CAUSES`` - 1."""


class _Group(msgspec.Struct, kw_only=True):
    count: int
    lines: list[int]
    causes: dict[str, Cause]
    """The first ``MAX_CAUSES`` causes, by their messages without values."""

    @property
    def sorted_causes(self) -> list[Cause]:
        """Return the causes ordered by line."""
        return sorted(self.causes.values())

    def add_cause(self, template: str, cause: Cause) -> None:
        """Keep a cause if it is among the first; the order in which parts arrive does not matter."""
        self.causes[template] = min(self.causes.get(template, cause), cause)
        if len(self.causes) > MAX_CAUSES:
            last = max(self.causes, key=lambda key: self.causes[key])
            del self.causes[last]


def _strip_values(message: str) -> str:
    return _VALUES.sub("", message)


class Findings:
    """Findings of one part of a file; parts can be merged in any order."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}

    def add(self, line: int, finding: RowFinding) -> None:
        """Add a finding of the row at ``line``; lines arrive in ascending order."""
        group = self._groups.get(finding.code)
        if group is None:
            self._groups[finding.code] = group = _Group(count=0, lines=[], causes={})
        group.count += 1
        if len(group.lines) < MAX_SHOWN_LINES:
            group.lines.append(line)
        if len(group.causes) >= MAX_CAUSES:
            return
        template = _strip_values(finding.message)
        if template not in group.causes:
            group.causes[template] = Cause(line=line, message=finding.message, fix=finding.fix)

    def __contains__(self, code: str) -> bool:
        return code in self._groups

    def merge(self, later: Findings, lines_before: int = 0) -> None:
        """Add the findings of a part of the file that starts after ``lines_before`` lines."""
        for code, theirs in later._groups.items():
            lines = [line + lines_before for line in theirs.lines]
            mine = self._groups.get(code)
            if mine is None:
                self._groups[code] = mine = _Group(count=0, lines=[], causes={})
            mine.count += theirs.count
            mine.lines = list(heapq.merge(mine.lines, lines))[:MAX_SHOWN_LINES]
            for template, cause in theirs.causes.items():
                moved = msgspec.structs.replace(cause, line=cause.line + lines_before)
                mine.add_cause(template, moved)

    def add_file(self, finding: FileFinding) -> None:
        """Add a finding of the file as a whole."""
        line = finding.lines[0] if finding.lines else 0
        cause = Cause(line=line, message=finding.message, fix=finding.fix)
        self._groups[finding.code] = _Group(
            count=finding.count, lines=finding.lines[:MAX_SHOWN_LINES], causes={"": cause}
        )

    def for_target(self, target: Target) -> list[Finding]:
        """Return the findings that matter to ``target``, most severe first, then most frequent."""
        findings = [
            Finding(
                severity=severity, code=code, message=group.sorted_causes[0].message,
                fix=group.sorted_causes[0].fix, count=group.count, lines=group.lines,
                also=group.sorted_causes[1:],
            )
            for code, group in self._groups.items()
            if (severity := target.severity(code))
        ]  # fmt: skip
        return sort_findings(findings)

    def all_findings(self) -> list[FileFinding]:
        """Return all findings regardless of target, most frequent first."""
        findings = [
            FileFinding(
                code=code, message=group.sorted_causes[0].message,
                fix=group.sorted_causes[0].fix, count=group.count, lines=group.lines,
            )
            for code, group in self._groups.items()
        ]  # fmt: skip
        return sorted(findings, key=lambda finding: (-finding.count, finding.code))


def sort_findings(findings: list[Finding]) -> list[Finding]:
    """Return findings sorted by severity, then by count."""
    return sorted(
        findings, key=lambda finding: (_ORDER.index(finding.severity), -finding.count, finding.code)
    )


def overall_verdict(findings: list[Finding]) -> Literal["ok", "warning", "error"]:
    """Return the overall verdict of findings."""
    severities: set[Severity] = {finding.severity for finding in findings}
    return "error" if "error" in severities else "warning" if "warning" in severities else "ok"
