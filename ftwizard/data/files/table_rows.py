"""Rows of CSV and TSV tables as objects; a bad row is a problem of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ftwizard.data import strict_json
from ftwizard.data.conversation import RowProblem
from ftwizard.data.files import table_text
from ftwizard.data.files.lines import TextLine
from ftwizard.data.files.table_text import Dialect
from ftwizard.data.quoted import quoted
from ftwizard.text import plural

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


def read_rows(lines: Iterator[TextLine], dialect: Dialect) -> Iterator[Row]:
    """Yield the rows below the header; let Broken from ``lines`` propagate."""
    header = True
    for line, fields, problem in table_text.parse_records(lines, dialect):
        if header and fields is not None:
            header = False
        else:
            yield line, problem or _parse_row(fields or [], dialect.columns)


def _parse_row(fields: list[str], columns: tuple[str, ...]) -> dict[str, Any] | RowProblem:
    if len(fields) != len(columns):
        return RowProblem(
            "column_count",
            f"it has {plural(len(fields), 'field')}, but the header has "
            f"{plural(len(columns), 'column')}",
            "quote fields that contain the delimiter, and add empty fields for missing values",
        )
    row: dict[str, Any] = {}
    for name, text in zip(columns, fields, strict=True):
        try:
            row[name] = _convert(name.strip().lower(), text)
        except RowProblem as problem:
            return RowProblem(
                problem.code, f"column {quoted(name, 40)}: {problem.message}", problem.fix
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
