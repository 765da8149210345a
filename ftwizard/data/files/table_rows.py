"""The rows of a table of text as objects: a row too short, or one that is damaged, costs itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ftwizard.data import strict_json
from ftwizard.data.conversation import RowProblem
from ftwizard.data.files import table_text
from ftwizard.data.files.lines import Line
from ftwizard.data.files.table_text import Dialect
from ftwizard.data.quoted import quoted
from ftwizard.text import plural

Row = tuple[int, dict[str, Any] | RowProblem]
"""The line it begins at, 1-based, and its values by column."""
_JSON = frozenset((
    "messages", "conversations", "conversation", "tools", "functions", "contents", "history",
    "images", "videos", "audios", "tool_calls", "preferred_output", "non_preferred_output",
    "input_ids", "labels", "attention_mask",
))  # fmt: skip
"""Columns that hold JSON."""
_PERHAPS = frozenset(("prompt", "completion", "chosen", "rejected", "input", "system"))
"""Columns that hold text, or messages as JSON."""
_BOOLEANS = {"true": True, "false": False}


def rows(lines: Iterator[Line], dialect: Dialect) -> Iterator[Row]:
    """Yield the rows under the header; what stops ``lines`` (Broken) passes."""
    header = True
    for line, fields, problem in table_text.records(lines, dialect):
        if header and fields is not None:
            header = False
        else:
            yield line, problem or _row(fields or [], dialect.columns)


def _row(fields: list[str], columns: tuple[str, ...]) -> dict[str, Any] | RowProblem:
    if len(fields) != len(columns):
        return RowProblem(
            "column_count",
            f"it has {plural(len(fields), 'field')}, the header names "
            f"{plural(len(columns), 'column')}",
            "quote fields that hold the delimiter, and write empty ones for those that are missing",
        )
    row: dict[str, Any] = {}
    for name, text in zip(columns, fields, strict=True):
        try:
            row[name] = _value(name.strip().lower(), text)
        except RowProblem as problem:
            return RowProblem(
                problem.code, f"column {quoted(name, 40)}: {problem.message}", problem.fix
            )
    return row


def _value(column: str, text: str) -> Any:
    """Return what a field means: tables have no types, and no lists."""
    if column in _JSON:
        return strict_json.decode(text) if text.strip() else None
    if column in _PERHAPS and text.lstrip()[:1] == "[":
        try:
            value = strict_json.decode(text)
        except RowProblem:
            return text
        return value if value and all(isinstance(item, dict) for item in value) else text
    return _BOOLEANS.get(text.strip().lower(), text) if column == "label" else text
