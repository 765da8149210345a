"""What was found, by code: how often, and at which lines."""

from __future__ import annotations

import heapq
import re

import msgspec

from ftwizard.data.checks.found import SHOWN_LINES, FileFound, Found
from ftwizard.data.targets import Severity, Target

CAUSES = 4
"""So many causes of one kind of finding are told apart."""
_VALUES = re.compile(r"\d[\d,.]*|“[^”]*”")
"""What differs from row to row where the cause is one."""
_ORDER: tuple[Severity, ...] = ("error", "warning", "info")


class Cause(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """What is wrong at a line."""

    line: int
    message: str
    fix: str


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
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
    also: list[Cause] = []
    """Other causes than the first place's, each with its first line; at most ``CAUSES`` - 1."""


class _Group(msgspec.Struct, kw_only=True):
    count: int
    lines: list[int]
    causes: dict[str, Cause]
    """The first of each, by what their messages have in common; the ``CAUSES`` that come first."""

    @property
    def told(self) -> list[Cause]:
        """Return the causes in the order of their lines."""
        return sorted(self.causes.values())

    def take(self, common: str, cause: Cause) -> None:
        """Keep a cause where it is one of the first: in any order that parts come in, the same."""
        self.causes[common] = min(self.causes.get(common, cause), cause)
        if len(self.causes) > CAUSES:
            last = max(self.causes, key=lambda one: self.causes[one])
            del self.causes[last]


def _common(message: str) -> str:
    return _VALUES.sub("", message)


class Findings:
    """Collects what the checks of rows find in one part of a file; parts are merged in any order."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}

    def add(self, line: int, found: Found) -> None:
        """Take in a finding of the row at ``line``; lines come in rising order."""
        group = self._groups.get(found.code)
        if group is None:
            self._groups[found.code] = group = _Group(count=0, lines=[], causes={})
        group.count += 1
        if len(group.lines) < SHOWN_LINES:
            group.lines.append(line)
        if len(group.causes) < CAUSES and (common := _common(found.message)) not in group.causes:
            group.causes[common] = Cause(line=line, message=found.message, fix=found.fix)

    def merge(self, other: Findings, lines_before: int = 0) -> None:
        """Take in those of a part of the file that begins after ``lines_before`` lines."""
        for code, theirs in other._groups.items():
            lines = [line + lines_before for line in theirs.lines]
            mine = self._groups.get(code)
            if mine is None:
                self._groups[code] = mine = _Group(count=0, lines=[], causes={})
            mine.count += theirs.count
            mine.lines = list(heapq.merge(mine.lines, lines))[:SHOWN_LINES]
            for common, cause in theirs.causes.items():
                moved = msgspec.structs.replace(cause, line=cause.line + lines_before)
                mine.take(common, moved)

    def add_file(self, found: FileFound) -> None:
        """Take in a finding of the file as a whole."""
        line = found.lines[0] if found.lines else 0
        cause = Cause(line=line, message=found.message, fix=found.fix)
        self._groups[found.code] = _Group(
            count=found.count, lines=found.lines[:SHOWN_LINES], causes={"": cause}
        )

    def listed(self, target: Target) -> list[Finding]:
        """Return them, the gravest first, then the most frequent."""
        found = [
            Finding(
                severity=severity, code=code, message=group.told[0].message,
                fix=group.told[0].fix, count=group.count, lines=group.lines, also=group.told[1:],
            )
            for code, group in self._groups.items()
            if (severity := target.severity(code))
        ]  # fmt: skip
        return in_order(found)

    def grouped(self) -> list[FileFound]:
        """Return them whatever a target thinks of them, the most frequent first."""
        found = [
            FileFound(
                code=code, message=group.told[0].message, fix=group.told[0].fix,
                count=group.count, lines=group.lines,
            )
            for code, group in self._groups.items()
        ]  # fmt: skip
        return sorted(found, key=lambda one: (-one.count, one.code))


def in_order(found: list[Finding]) -> list[Finding]:
    """Return findings, the gravest first, then the most frequent."""
    return sorted(found, key=lambda one: (_ORDER.index(one.severity), -one.count, one.code))
