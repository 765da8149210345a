"""Single rows at requested lines, each with its own findings."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import get_args

from ftwizard.data import row_preview
from ftwizard.data.checks.row_checker import RowChecker
from ftwizard.data.checks.run import guess_format
from ftwizard.data.documents import GradedFinding, ShownRow
from ftwizard.data.example import RowProblem
from ftwizard.data.format_names import FormatChoice, TargetName
from ftwizard.data.io import chunks, inspect, records
from ftwizard.data.io.inspect import Container
from ftwizard.data.io.records import Record
from ftwizard.data.platforms import Severity, Target, default_target, get_target

_ORDER = get_args(Severity)


def inspect_rows(
    path: Path, lines: Collection[int], format: FormatChoice = "auto", to: TargetName | None = None
) -> list[ShownRow]:
    """Return the existing rows at these lines, in order.

    ``to`` is the target whose rules apply; default as in ``check_files``. Raises FileProblem.
    """
    layout = inspect.inspect(path)
    explicit = None if format == "auto" else format
    row_format = explicit or guess_format(path, layout, to)
    goal = get_target(to) if to else default_target(row_format)
    checker = RowChecker(row_format, goal, exactly=explicit is None)
    return [_show(record, checker, goal) for record in read_records(path, layout, lines)]


def read_records(path: Path, layout: Container, lines: Collection[int]) -> Iterator[Record]:
    """Yield the records at these lines, reading no more of the file than needed."""
    numbers = set(lines)
    if not numbers:
        return
    plain = layout.is_plain_lines
    for record in (
        _read_plain(path, layout, numbers) if plain else records.read_records(path, layout)
    ):
        if record.line in numbers:
            yield record
        if record.line >= max(numbers):
            return


def _read_plain(path: Path, layout: Container, wanted: set[int]) -> Iterator[Record]:
    """Yield the wanted lines of a file whose lines can be counted without parsing them."""
    first, last = 1, max(wanted)
    for part in chunks.split_into_parts(path, layout, 1):
        for block in part.blocks():
            after = first + block.line_count
            if block.problem:
                yield Record(first, block.problem)
            elif any(first <= line < after for line in wanted):
                for number, line in enumerate(block.lines(), first):
                    if line.strip():
                        yield Record(number, line.removesuffix(b"\r"))
            first = after
            if first > last:
                return


def _show(record: Record, checker: RowChecker, goal: Target) -> ShownRow:
    try:
        value = records.decode_value(record.value)
    except RowProblem as problem:
        value = problem
    findings, example = checker.check_value(value)
    relevant = [
        GradedFinding(
            severity=severity, code=finding.code, message=finding.message, fix=finding.fix
        )
        for finding in findings
        if (severity := goal.severity(finding.code))
    ]
    return ShownRow(
        line=record.line,
        example=row_preview.redact_example(example) if example else None,
        raw=row_preview.redact_raw(record, value),
        findings=sorted(relevant, key=lambda finding: _ORDER.index(finding.severity)),
    )
