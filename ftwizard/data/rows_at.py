"""Rows at given lines, each with what is said of it alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec

from ftwizard.data import container, ranges, records, shown
from ftwizard.data.container import Container
from ftwizard.data.conversation import RowProblem
from ftwizard.data.examine import guessed
from ftwizard.data.format_names import FormatChoice
from ftwizard.data.records import Record
from ftwizard.data.row_checker import RowChecker
from ftwizard.data.target_names import TargetName
from ftwizard.data.targets import Severity, Target, target, usual

_ORDER = get_args(Severity)


class OfRow(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is said of a row."""

    severity: Severity
    code: str
    message: str
    fix: str


class ShownRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row to look at."""

    line: int
    """As in the report."""
    example: dict[str, Any] | None
    """What it means (``Example``); None where that cannot be told."""
    raw: str
    """As it stands in the file; a table's row as JSON."""
    findings: list[OfRow]
    """What it has by itself, the gravest first; not what shows only beside other rows."""


def rows(
    path: Path, lines: Collection[int], format: FormatChoice = "auto", to: TargetName | None = None
) -> list[ShownRow]:
    """Return the rows at these lines, in order; those that are not there are left out.

    ``to``: by whose rules they are checked, by default as ``examine`` has it. Raises FileProblem.
    """
    what = container.inspect(path)
    demanded = None if format == "auto" else format
    found = demanded or guessed(path, what, to)
    place = target(to) if to else usual(found)
    checker = RowChecker(found, place, exactly=demanded is None)
    return [_shown(record, checker, place) for record in at(path, what, lines)]


def at(path: Path, what: Container, lines: Collection[int]) -> Iterator[Record]:
    """Yield the records at these lines; no more of the file is read than that takes."""
    wanted = set(lines)
    if not wanted:
        return
    for record in _plain(path, what, wanted) if what.plain else records.records(path, what):
        if record.line in wanted:
            yield record
        if record.line >= max(wanted):
            return


def _plain(path: Path, what: Container, wanted: set[int]) -> Iterator[Record]:
    """Yield the wanted lines of a file whose lines can be counted without a look at each."""
    first, last = 1, max(wanted)
    for start, end in ranges.ranges(path, what, 1):
        for block in ranges.lines_in(path, what, start, end):
            after = first + block.count(b"\n")
            if isinstance(block, ranges.TooLong):
                yield Record(first, block.problem)
            elif any(first <= line <= after for line in wanted):
                for number, line in enumerate(block.split(b"\n"), first):
                    if line.strip():
                        yield Record(number, line.removesuffix(b"\r"))
            first = after
            if first > last:
                return


def _shown(record: Record, checker: RowChecker, place: Target) -> ShownRow:
    try:
        value = records.decoded(record)
    except RowProblem as problem:
        value = problem
    found, example = checker.look(value)
    graded = ((place.severity(one.code), one) for one in found)
    said = [
        OfRow(severity=severity, code=one.code, message=one.message, fix=one.fix)
        for severity, one in graded
        if severity
    ]
    return ShownRow(
        line=record.line,
        example=shown.example(example) if example else None,
        raw=shown.raw(record, value),
        findings=sorted(said, key=lambda one: _ORDER.index(one.severity)),
    )
