"""Delimiter and header detection for tables of text."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from ftwizard.data.example import RowProblem
from ftwizard.data.io import csv_parser, strict_json
from ftwizard.data.io.csv_parser import Dialect, parse_records
from ftwizard.data.io.layout_names import FIELDS
from ftwizard.data.io.lines import TextLine
from ftwizard.data.privacy.quote import quote
from ftwizard.text import format_count

_DIALECTS = (
    Dialect(delimiter=","),
    Dialect(delimiter="\t"),
    Dialect(delimiter="\t", quoted=False),
    Dialect(delimiter=";"),
    Dialect(delimiter="|"),
)
_MAX_RECORDS = 200
"""Maximum number of leading records examined."""
_MAX_NAME = 64
"""Maximum characters of a column name."""
_NUMBER = re.compile(r"[-+]?[\d.,]+%?")
_UNLIKE_NAMES = re.compile(r"[{}\[\]\"]|[.?!]$")
Row = tuple[int, dict[str, Any] | RowProblem]
"""The 1-based line it begins at, and its values by column."""
_JSON_COLUMNS = frozenset((
    "messages", "conversations", "conversation", "tools", "functions", "contents", "history",
    "images", "videos", "audios", "tool_calls", "preferred_output", "non_preferred_output",
    "input_ids", "labels", "attention_mask",
))  # fmt: skip
"""Columns that hold JSON."""
_TEXT_OR_JSON_COLUMNS = frozenset(("prompt", "completion", "chosen", "rejected", "input", "system"))
"""Columns that hold text or messages as JSON."""
_BOOLEANS = {"true": True, "false": False}


class Header(NamedTuple):
    """The dialect and header of a table."""

    dialect: Dialect
    named: bool
    """Whether the first row names the columns; otherwise it is data."""


def sniff(lines: Sequence[TextLine]) -> Header | None:
    """Return the header of the table that begins with ``lines``, or None if they are not a table."""
    lines = [line for line in lines if line.data.strip()]
    if not lines:
        return None
    name = lines[0].data.strip().strip(b'"').strip().decode("utf-8", "replace")
    if name.lower() in FIELDS:
        return Header(Dialect(delimiter=",", columns=(name,)), named=True)
    guesses = [guess for dialect in _DIALECTS if (guess := _guess(lines, dialect))]
    return max(guesses, key=lambda guess: guess.fit).header if guesses else None


def find_duplicate(columns: Sequence[str]) -> str | None:
    """Return the first name that occurs twice among ``columns``, or None."""
    return next((name for name, count in Counter(columns).items() if count > 1), None)


class _Guess(NamedTuple):
    fit: tuple[float, ...]
    header: Header


def _guess(lines: Sequence[TextLine], dialect: Dialect) -> _Guess | None:
    """Return how well ``dialect`` fits, or None if it does not."""
    rows = [
        record.fields
        for record in itertools.islice(parse_records(iter(lines), dialect), _MAX_RECORDS)
    ]
    if not rows or rows[0] is None or len(rows[0]) < 2:
        return None
    header, data_rows = rows[0], rows[1:]
    # pandas writes an unnamed index column; spreadsheets write empty columns.
    named = all(_is_name(cell) for cell in header if cell) and any(header)
    known_names = sum(name.strip().lower() in FIELDS for name in header) if named else 0
    named = named and (known_names > 0 or all(header[1:]))
    same_width = sum(row is not None and len(row) == len(header) for row in data_rows)
    share = same_width / len(data_rows) if data_rows else 1.0
    if not known_names:
        if len(data_rows) < 2 or share < (0.8 if named else 0.95):
            return None
        if 2 * sum(line.data.lstrip()[:1] in (b"{", b"[") for line in lines) >= len(lines):
            return None
        if 2 * sum(cell[:1] == " " for row in data_rows for cell in (row or [])[1:]) > len(
            data_rows
        ):
            return None  # commas in sentences
    columns = tuple(header)
    if named:
        # Names in an aligned table, or after “, ”, are stripped of their blanks.
        columns = tuple(cell.strip() or f"Unnamed: {i}" for i, cell in enumerate(header))
    fit = (known_names, share, len(header), dialect.quoted)
    return _Guess(fit, Header(msgspec.structs.replace(dialect, columns=columns), named))


def _is_name(cell: str) -> bool:
    """Return whether a cell of the first row looks like a column name, not like a value."""
    cell = cell.strip()
    return bool(
        cell
        and len(cell) <= _MAX_NAME
        and len(cell.split()) <= 5
        and not _UNLIKE_NAMES.search(cell)
        and not _NUMBER.fullmatch(cell)
    )


def read_rows(lines: Iterator[TextLine], dialect: Dialect) -> Iterator[Row]:
    """Yield the rows below the header; let Broken from ``lines`` propagate."""
    header = True
    for line, fields, problem in csv_parser.parse_records(lines, dialect):
        if header and fields is not None:
            header = False
        else:
            yield line, problem or _parse_row(fields or [], dialect.columns)


def _parse_row(fields: list[str], columns: tuple[str, ...]) -> dict[str, Any] | RowProblem:
    if len(fields) != len(columns):
        return RowProblem(
            "column_count",
            f"it has {format_count(len(fields), 'field')}, but the header has "
            f"{format_count(len(columns), 'column')}",
            "quote fields that contain the delimiter, and add empty fields for missing values",
        )
    row: dict[str, Any] = {}
    for name, text in zip(columns, fields, strict=True):
        try:
            row[name] = _convert(name.strip().lower(), text)
        except RowProblem as problem:
            return RowProblem(
                problem.cause, f"column {quote(name, 40)}: {problem.message}", problem.fix
            )
    return row


def _convert(column: str, text: str) -> Any:
    """Convert a field by its column, as tables have neither types nor lists."""
    if column in _JSON_COLUMNS:
        return strict_json.decode(text) if text.strip() else None
    if column in _TEXT_OR_JSON_COLUMNS and text.lstrip()[:1] == "[":
        try:
            value = strict_json.decode(text)
        except RowProblem:
            return text
        return value if value and all(isinstance(item, dict) for item in value) else text
    return _BOOLEANS.get(text.strip().lower(), text) if column == "label" else text
