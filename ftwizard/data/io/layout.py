"""Layout detection for text files: JSON Lines, an array, multi-line objects, or a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from ftwizard.data.io import csv_rows, json_rows
from ftwizard.data.io.compression import Damage
from ftwizard.data.io.csv_rows import Dialect
from ftwizard.data.io.json_scanner import HEAD_BYTES
from ftwizard.data.io.lines import MAX_LINE, TextLine

Kind = Literal["jsonl", "array", "objects", "csv", "tsv", "parquet", "arrow"]
_BLANKS = b" \t\r\n\x00"


class TextLayout(msgspec.Struct, frozen=True, kw_only=True):
    """How a text arranges its rows."""

    kind: Kind
    unit: Literal["line", "row"] = "line"
    newline: bytes = b"\n"
    wrapper: str | None = None
    """The key of the object that holds the array."""
    dialect: Dialect | None = None
    """For tables only."""


def detect_layout(head: bytes, rest: Iterator[bytes], *, whole: bool) -> TextLayout:
    """Return the layout of a text that begins with ``head``, which is not blank.

    ``whole``: the head is all of the text. Otherwise ``rest`` follows and is read up to the second
    line.
    """
    newline = _detect_newline(head[:HEAD_BYTES])
    start = head.lstrip(_BLANKS)
    if start[:1] not in (b"{", b"["):
        return _detect_table(head, newline, whole)
    first = _FirstLine(start, rest, newline)
    if start[:1] == b"[":
        if first.follows in (b"{", b"[") and first.last not in (b",", b"[", b"{", b":"):
            return TextLayout(kind="jsonl", newline=newline)
        return TextLayout(kind="array", newline=newline, unit="line" if first.follows else "row")
    return _detect_objects(start, first, newline)


def _detect_objects(start: bytes, first: _FirstLine, newline: bytes) -> TextLayout:
    wrapper = (
        json_rows.find_wrapped_list(start[:HEAD_BYTES])
        if first.continues or not first.follows
        else None
    )
    if wrapper:
        unit: Literal["line", "row"] = "line" if first.follows else "row"
        return TextLayout(kind="array", newline=newline, unit=unit, wrapper=wrapper[0])
    if first.continues and not first.next_is_row:
        return TextLayout(kind="objects", newline=newline)
    return TextLayout(kind="jsonl", newline=newline)


class _FirstLine:
    """The end of the first line and what follows it."""

    def __init__(self, start: bytes, rest: Iterator[bytes], newline: bytes) -> None:
        self.last = b""
        """Its last non-blank character."""
        self.follows = b""
        """The first non-blank character after the line; empty at the end of the text, or if the
        line is too long to be a row."""
        self.next_is_row = False
        """Whether the second line is a JSON object by itself."""
        size, ended, block = 0, False, start
        while True:
            if not ended:
                line, mark, after = block.partition(newline)
                self.last = line.rstrip(_BLANKS)[-1:] or self.last
                size += len(line)
                ended = bool(mark)
            else:
                after = block
            if ended and (after := after.lstrip(_BLANKS)):
                self.follows = after[:1]
                self.next_is_row = _is_object(after.partition(newline)[0])
                return
            if size > MAX_LINE:
                return
            try:
                block = next(rest, b"")
            except Damage:
                return
            if not block:
                return

    @property
    def continues(self) -> bool:
        """Return whether the line ends within a value that continues on the next line."""
        if not self.follows:
            return False
        if self.last in (b"{", b","):
            return self.follows not in (b"[",)
        return self.last in (b"[", b":") or self.follows in (b",", b"]", b"}", b":")


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(line), dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _detect_newline(head: bytes) -> bytes:
    """Return the line ending: a carriage return only if there are no line feeds."""
    alone = b"\r" in head[:-1] and b"\n" not in head
    return b"\r" if alone else b"\n"


def _detect_table(head: bytes, newline: bytes, whole: bool) -> TextLayout:
    lines = head[:HEAD_BYTES].split(newline)
    if (not whole or len(head) > HEAD_BYTES) and len(lines) > 1:
        lines.pop()  # it may be truncated
    dialect = csv_rows.sniff([TextLine(number, line) for number, line in enumerate(lines, 1)])
    if dialect is None:
        return TextLayout(kind="jsonl", newline=newline)
    kind: Kind = "tsv" if dialect.delimiter == "\t" else "csv"
    return TextLayout(kind=kind, newline=newline, dialect=dialect)
