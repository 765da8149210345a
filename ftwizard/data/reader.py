"""Row reader that reports every bad row with its line and keeps all good rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.data import formats
from ftwizard.data.conversation import Conversation, to_conversation
from ftwizard.data.example import Example, RowProblem
from ftwizard.data.format_names import Format, FormatChoice
from ftwizard.data.io import records
from ftwizard.data.io.inspect import Container, FileProblem, inspect
from ftwizard.data.io.records import Record
from ftwizard.data.io.source import DataSource
from ftwizard.errors import FtwizardError
from ftwizard.text import format_count, make_visible

MAX_SHOWN_PROBLEMS = 3


class ParsedRow(msgspec.Struct, frozen=True, kw_only=True):
    """One usable row."""

    line: int
    """1-based physical line it starts at; its 1-based number in files without lines (Parquet, an
    array on one line)."""
    example: Example
    """Its meaning."""
    conversation: Conversation
    """The conversation that local training uses."""


class BadRow(msgspec.Struct, frozen=True, kw_only=True):
    """Why a row cannot be used."""

    line: int
    code: str
    message: str
    fix: str


class DataTable(msgspec.Struct, frozen=True, kw_only=True):
    """All rows of a data file."""

    path: str
    rows: list[ParsedRow]
    problems: list[BadRow]
    sha256: str
    """Hash of the file's bytes."""
    format: Format | None
    """Format of the rows; None if no row is a JSON object."""

    @property
    def count(self) -> int:
        """Return the number of rows, good and bad."""
        return len(self.rows) + len(self.problems)


def no_rows_problem(path: Path) -> FileProblem:
    """Return the problem of a readable file without rows."""
    return FileProblem(
        "file_empty", f"{make_visible(str(path))} has no rows.", "Write one JSON object per line."
    )


def read_table(path: Path, format: FormatChoice = "auto") -> DataTable:
    """Read the rows of any file that ``container.inspect`` supports.

    ``auto`` uses the format of most rows; the other rows become problems. Raises FtwizardError if
    the file itself cannot be used; bad rows are ``problems``.
    """
    container = inspect(path)
    values = list(_values(path, container))
    if not values:
        raise no_rows_problem(path)
    row_format = (
        _detect_format(path, [value for _, value in values]) if format == "auto" else format
    )
    rows: list[ParsedRow] = []
    problems: list[BadRow] = []
    for line, value in values:
        try:
            meaning = _example(value, row_format, format == "auto")
            rows.append(
                ParsedRow(line=line, example=meaning, conversation=to_conversation(meaning))
            )
        except RowProblem as problem:
            problems.append(
                BadRow(line=line, code=problem.code, message=problem.message, fix=problem.fix)
            )
    return DataTable(
        path=str(path),
        rows=rows,
        problems=problems,
        sha256=_sha256(path, container),
        format=row_format,
    )


def _sha256(path: Path, container: Container) -> str:
    with DataSource(path, container.identity) as source:
        return source.sha256()


def _example(value: Any, format: Format | None, exactly: bool) -> Example:
    if isinstance(value, RowProblem):
        raise value
    if format is None:
        raise RowProblem("not_object", "not a JSON object", "write one object per line")
    formats.check_format(formats.match_formats(value), format, exactly=exactly, row=value)
    return formats.to_example(value, format)


def _detect_format(path: Path, values: list[Any]) -> Format | None:
    """Return the format of most rows; raise FtwizardError if it is unclear."""
    return formats.count_formats(values).decide(path).format


def get_usable_rows(table: DataTable, *, skip_bad: bool) -> list[ParsedRow]:
    """Return the good rows; raise FtwizardError for bad rows unless they may be skipped."""
    if table.problems and not (skip_bad and table.rows):
        first = "; ".join(
            f"line {problem.line}: {problem.message} ({problem.fix})"
            for problem in table.problems[:MAX_SHOWN_PROBLEMS]
        )
        more = len(table.problems) - MAX_SHOWN_PROBLEMS
        rest = f"; and {more:,} more" if more > 0 else ""
        good = format_count(len(table.rows), "good row")
        raise FtwizardError(
            f"{len(table.problems):,} of {format_count(table.count, 'row')} in "
            f"{make_visible(table.path)} cannot be used: {first}{rest}.",
            f"Fix them, or train on the {good} with: --allow skip-bad-rows" if table.rows else "",
        )
    return table.rows


def _values(path: Path, container: Container) -> Iterator[tuple[int, Any]]:
    for record in records.read_records(path, container):
        try:
            yield record.line, records.decode_record(record)
        except RowProblem as problem:
            yield record.line, problem


# Rows of a file as examples, after detecting the file's format from all rows.

Decode = Callable[[Record], Iterable[Any]]
"""Returns the values of a record; raises RowProblem."""


class RowReader(msgspec.Struct, frozen=True, kw_only=True):
    """How a file's rows are read."""

    path: Path
    container: Container
    format: Format | None
    """None if no row is an object."""
    is_explicit: bool
    """The format was set explicitly; fields of other formats are then allowed."""

    def example(self, value: Any) -> Example:
        """Return a row as an example; raise RowProblem."""
        if self.format is None:
            raise RowProblem("not_object", "not a JSON object", "write one object per line")
        looks = formats.match_formats(value)
        formats.check_format(looks, self.format, exactly=not self.is_explicit, row=value)
        return formats.to_example(value, self.format)

    def examples(self) -> Iterator[tuple[int, Example | RowProblem]]:
        """Yield the line of each row with its example or its problem."""
        for record in records.read_records(self.path, self.container):
            try:
                yield record.line, self.example(records.decode_record(record))
            except RowProblem as problem:
                yield record.line, problem


def open_reader(
    path: Path, choice: FormatChoice = "auto", decode: Decode | None = None
) -> RowReader:
    """Inspect a file and detect its format from all rows unless one is set.

    Raises FileProblem if no rows can be read or their format is unclear.
    """
    container = inspect(path)
    if choice != "auto":
        return RowReader(path=path, container=container, format=choice, is_explicit=True)
    tally = formats.FormatCounter()
    for record in records.read_records(path, container):
        try:
            values = decode(record) if decode else [records.decode_record(record)]
        except RowProblem:
            continue
        for value in values:
            tally.add(value)
    decision = tally.decide(path)
    return RowReader(path=path, container=container, format=decision.format, is_explicit=False)
