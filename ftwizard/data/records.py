"""The rows of any data file, one after another, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ftwizard.data import strict_json
from ftwizard.data.container import Container, read_text
from ftwizard.data.conversation import RowProblem
from ftwizard.data.files import arrow_files, json_rows, lines, table_rows
from ftwizard.data.files.lines import Broken, Line
from ftwizard.data.files.source import Source

_BLANKS = b" \t\r\n"


class Record(NamedTuple):
    """One row of a file."""

    line: int
    """The 1-based physical line it begins at; its 1-based number where ``Container.unit`` is
    ``row``."""
    value: bytes | dict[str, Any] | RowProblem
    """Its JSON as it stands in the file, which nobody has looked at yet; a table's row; or why
    there is none."""


def decoded(record: Record) -> Any:
    """Return what a record means; raise RowProblem."""
    if isinstance(record.value, bytes):
        return strict_json.decode(record.value)
    if isinstance(record.value, RowProblem):
        raise record.value
    return record.value


def records(path: Path, container: Container) -> Iterator[Record]:
    """Yield the rows of the file that ``container`` was told of, each with its place.

    Blank lines are no rows. Damage costs the rows it touches: those before it come, and those
    after it where they can be told. Raises FileProblem where the file is another by now, has
    changed when its end is reached, or needs what is not installed.
    """
    with Source(path, container.identity) as source:
        for line, value in _numbered(_rows(source, container), container):
            if (
                container.encoding != "utf-8"
                and isinstance(value, bytes)
                and lines.INVALID in value
            ):
                value = _broken(container)
            yield Record(line, value)
        source.check_unchanged()


def _broken(container: Container) -> RowProblem:
    return RowProblem(
        "encoding",
        f"a character in it is no {container.encoding.upper()}, or half of one",
        "write the file again, in UTF-8",
    )


def _numbered(found: Iterator[tuple[int, Any]], container: Container) -> Iterator[tuple[int, Any]]:
    if container.kind == "array" and container.unit == "row":
        return ((number, value) for number, (_, value) in enumerate(found, 1))
    return found


def _rows(source: Source, container: Container) -> Iterator[tuple[int, Any]]:
    if container.kind in ("parquet", "arrow"):
        return arrow_files.read_rows(source, container.kind)
    layout, text = container.layout, read_text(source, container)
    if container.kind == "objects":
        return json_rows.read_objects(text, layout.newline)
    if container.kind == "array":
        read = json_rows.read_wrapped_list if layout.wrapper else json_rows.read_array
        return read(text, layout.newline)
    found = lines.split_lines(text, layout.newline)
    if layout.dialect:
        return _whole(table_rows.read_rows(found, layout.dialect))
    return _whole(map(_of_line, filter(_has_row, found)))


def _has_row(line: Line) -> bool:
    return bool(line.data) and not line.data.isspace()


def _of_line(line: Line) -> tuple[int, bytes | RowProblem]:
    if line.too_long:
        return line.number, lines.too_large_problem()
    return line.number, line.data.removesuffix(b"\r")


def _whole(found: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """Yield what is found, and what stops it as the problem of the line it stands in."""
    try:
        yield from found
    except Broken as damage:
        number, rest = damage.number, damage.rest.strip(_BLANKS)
        # An object is whole by its last brace.
        if rest.startswith(b"{") and strict_json.problem(rest) is None:
            yield number, rest
            number += 1
        yield number, RowProblem(damage.code, damage.message, damage.fix)
