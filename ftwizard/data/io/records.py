"""Streaming of rows from any data file in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ftwizard.data.example import RowProblem
from ftwizard.data.io import arrow, csv_rows, json_rows, lines, strict_json
from ftwizard.data.io.inspect import Container, read_text
from ftwizard.data.io.lines import Broken, TextLine
from ftwizard.data.io.source import DataSource

_BLANKS = b" \t\r\n"


class Record(NamedTuple):
    """One row of a file."""

    line: int
    """The 1-based physical line at which it begins, or its 1-based row number if
    ``Container.unit`` is ``row``."""
    value: bytes | dict[str, Any] | RowProblem
    """Its raw, unchecked JSON; the row of a table; or the problem with it."""


def decode_value(value: bytes | dict[str, Any] | RowProblem) -> Any:
    """Return the decoded value of a record; raise RowProblem."""
    if isinstance(value, bytes):
        return strict_json.decode(value)
    if isinstance(value, RowProblem):
        raise value
    return value


def read_records(path: Path, container: Container) -> Iterator[Record]:
    """Yield the rows of the file described by ``container``, with their lines.

    Blank lines are skipped. Damage only affects the rows it touches: rows before it are yielded, and
    so are later rows if they can be found. Raises FileProblem if the file was replaced, changes while
    being read, or needs a package that is not installed.
    """
    by_number = container.kind == "array" and container.unit == "row"
    with DataSource(path, container.identity) as source:
        for number, (line, value) in enumerate(_read_rows(source, container), 1):
            if (
                container.encoding != "utf-8"
                and isinstance(value, bytes)
                and lines.INVALID in value
            ):
                value = RowProblem(
                    "encoding",
                    f"it contains an invalid {container.encoding.upper()} character",
                    "save the file again as UTF-8",
                )
            yield Record(number if by_number else line, value)
        source.check_unchanged()


def _read_rows(source: DataSource, container: Container) -> Iterator[tuple[int, Any]]:
    if container.kind in ("parquet", "arrow"):
        return arrow.read_rows(source, container.kind)
    layout, text = container.layout, read_text(source, container)
    if container.kind == "objects":
        return json_rows.read_objects(text, layout.newline)
    if container.kind == "array":
        read = json_rows.read_wrapped_list if layout.wrapper else json_rows.read_array
        return read(text, layout.newline)
    numbered_lines = lines.split_lines(text, layout.newline)
    if layout.dialect:
        return _report_damage(csv_rows.read_rows(numbered_lines, layout.dialect))
    return _report_damage(_from_lines(numbered_lines))


def _from_lines(numbered_lines: Iterator[TextLine]) -> Iterator[tuple[int, bytes | RowProblem]]:
    for number, data, too_long in numbered_lines:
        if data and not data.isspace():
            yield number, lines.too_large_problem() if too_long else data.removesuffix(b"\r")


def _report_damage(rows: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """Yield the rows, and damage that ends them as a problem of its line."""
    try:
        yield from rows
    except Broken as damage:
        number, rest = damage.number, damage.rest.strip(_BLANKS)
        # The last line is complete if it is a valid object.
        if rest.startswith(b"{") and strict_json.find_problem(rest) is None:
            yield number, rest
            number += 1
        yield number, RowProblem(damage.code, damage.message, damage.fix)
