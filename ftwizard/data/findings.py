"""What was found, by code: how often, and at which lines."""

from __future__ import annotations

import heapq

import msgspec

from ftwizard.data.checks.found import SHOWN_LINES, FileFound, Found
from ftwizard.data.targets import Severity, Target

_ORDER: tuple[Severity, ...] = ("error", "warning", "info")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of finding, and every place it was found at."""

    severity: Severity
    code: str
    """Stable; one of assets/checks.toml."""
    message: str
    """Of the first place."""
    fix: str
    count: int
    """Exact."""
    lines: list[int]
    """1-based physical lines, rows in Parquet; the first ``SHOWN_LINES``."""


class _Group(msgspec.Struct, kw_only=True):
    count: int
    lines: list[int]
    first: tuple[int, str, str]
    """Line, message, fix."""


class Findings:
    """Collects what the checks of rows find in one part of a file; parts are merged in any order."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}

    def add(self, line: int, found: Found) -> None:
        """Take in a finding of the row at ``line``; lines come in rising order."""
        group = self._groups.get(found.code)
        if group is None:
            first = (line, found.message, found.fix)
            self._groups[found.code] = _Group(count=1, lines=[line], first=first)
            return
        group.count += 1
        if len(group.lines) < SHOWN_LINES:
            group.lines.append(line)

    def merge(self, other: Findings, lines_before: int = 0) -> None:
        """Take in those of a part of the file that begins after ``lines_before`` lines."""
        for code, theirs in other._groups.items():
            lines = [line + lines_before for line in theirs.lines]
            first = (theirs.first[0] + lines_before, *theirs.first[1:])
            mine = self._groups.get(code)
            if mine is None:
                self._groups[code] = _Group(count=theirs.count, lines=lines, first=first)
                continue
            mine.count += theirs.count
            mine.lines = list(heapq.merge(mine.lines, lines))[:SHOWN_LINES]
            mine.first = min(mine.first, first)

    def add_file(self, found: FileFound) -> None:
        """Take in a finding of the file as a whole."""
        first = (found.lines[0] if found.lines else 0, found.message, found.fix)
        self._groups[found.code] = _Group(
            count=found.count, lines=found.lines[:SHOWN_LINES], first=first
        )

    def listed(self, target: Target) -> list[Finding]:
        """Return them, the gravest first, then the most frequent."""
        found = [
            Finding(
                severity=severity, code=code, message=group.first[1], fix=group.first[2],
                count=group.count, lines=group.lines,
            )
            for code, group in self._groups.items()
            if (severity := target.severity(code))
        ]  # fmt: skip
        return in_order(found)

    def grouped(self) -> list[FileFound]:
        """Return them whatever a target thinks of them, the most frequent first."""
        found = [
            FileFound(
                code=code, message=group.first[1], fix=group.first[2], count=group.count,
                lines=group.lines,
            )
            for code, group in self._groups.items()
        ]  # fmt: skip
        return sorted(found, key=lambda one: (-one.count, one.code))


def in_order(found: list[Finding]) -> list[Finding]:
    """Return findings, the gravest first, then the most frequent."""
    return sorted(found, key=lambda one: (_ORDER.index(one.severity), -one.count, one.code))
