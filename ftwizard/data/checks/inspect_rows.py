"""Single rows at requested lines, each with its own findings."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, get_args

from ftwizard.data import row_preview
from ftwizard.data.checks.row_checker import RowChecker
from ftwizard.data.checks.run import CheckedFile, CheckOptions
from ftwizard.data.documents import GradedFinding, ShownRow
from ftwizard.data.example import RowProblem
from ftwizard.data.format_names import FormatChoice, TargetName
from ftwizard.data.io import chunks, records
from ftwizard.data.io.inspect import Container
from ftwizard.data.io.read_options import AS_IS, ReadOptions
from ftwizard.data.io.records import Record
from ftwizard.data.platforms import Severity, Target

_ORDER = get_args(Severity)


def inspect_rows(
    path: Path,
    lines: Collection[int],
    format: FormatChoice = "auto",
    to: TargetName | None = None,
    read: ReadOptions = AS_IS,
) -> list[ShownRow]:
    """Return the existing rows at these lines, in order.

    ``to`` is the target whose rules apply; default as in ``check_files``. Raises FileProblem.
    """
    file = CheckedFile(path, CheckOptions(format=format, target=to, read=read))
    checker = file.make_checker()
    map_value = records.make_mapper(file.container.mapping)
    return [
        _show(record, map_value(record.value), checker, file.target)
        for record in read_records(path, file.container, lines)
    ]


def read_records(path: Path, container: Container, lines: Collection[int]) -> Iterator[Record]:
    """Yield the records at these lines as they are in the file, reading no more than needed."""
    numbers = set(lines)
    if not numbers:
        return
    is_plain = container.is_plain_lines
    for record in (
        _read_plain(path, container, numbers)
        if is_plain
        else records.read_raw_records(path, container)
    ):
        if record.line in numbers:
            yield record
        if record.line >= max(numbers):
            return


def _read_plain(path: Path, container: Container, wanted: set[int]) -> Iterator[Record]:
    """Yield the wanted lines of a file whose lines can be counted without parsing them."""
    last = max(wanted)
    for part in chunks.split_into_parts(path, container, 1):
        for block in part.blocks():
            if block.line > last:
                return
            if block.problem:
                yield Record(block.line, block.problem)
            elif wanted.intersection(range(block.line, block.line + block.line_count)):
                for number, line in enumerate(block.lines(), block.line):
                    if line.strip():
                        yield Record(number, line.removesuffix(b"\r"))


def _show(record: Record, mapped: Any, checker: RowChecker, target: Target) -> ShownRow:
    try:
        value = records.decode_value(record.value)
    except RowProblem as problem:
        value = problem
    findings, example = checker.check_value(mapped)
    relevant = [
        GradedFinding(severity=severity, code=row.code, message=row.message, fix=row.fix)
        for row in findings
        if (severity := target.severity(row.code))
    ]
    return ShownRow(
        line=record.line,
        example=row_preview.redact_example(example) if example else None,
        raw=row_preview.redact_raw(record, value),
        findings=sorted(relevant, key=lambda finding: _ORDER.index(finding.severity)),
    )
