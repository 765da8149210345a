"""Records of a table of text, by the book; a quote too many costs the line it stands in alone."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from ftwizard.data import strict_json
from ftwizard.data.conversation import RowProblem
from ftwizard.data.files.lines import MAX_LINE, Line, too_large
from ftwizard.data.quoted import quoted

csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))

_MOST_LINES = 20_000
"""Lines of the longest record: one that seems longer has lost a quote."""
_RETURN = "\udc0d"
"""Stands for a carriage return within a line, which the reader would take for its end; writers
leave it without quotes."""


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """How a table is written."""

    delimiter: str
    quoted: bool = True
    """A quote begins a field that may hold delimiters and line feeds; else it is text."""
    columns: tuple[str, ...] = ()
    """As the header names them; one without a name by its place, as pandas does."""

    def reader(self, lines: Iterator[str]) -> Iterator[list[str]]:
        """Return a reader of ``lines``; it raises csv.Error for quotes that do not match."""
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE,
            strict=True,
        )


class Fields(NamedTuple):
    """One record."""

    line: int
    """The physical line it begins at, 1-based."""
    fields: list[str] | None
    """None where it cannot be read."""
    problem: RowProblem | None = None
    """Why; also of bytes that are not UTF-8, which ``fields`` have as surrogate escapes."""


def records(lines: Iterator[Line], dialect: Dialect) -> Iterator[Fields]:
    """Yield the records of ``lines``, the header among them; lines of blanks are passed over.

    What stops ``lines`` (Broken) passes.
    """
    feed = _Feed(lines)
    reader = dialect.reader(feed)
    while True:
        feed.begin()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except (csv.Error, _TooLong) as error:
            yield Fields(feed.taken[0].number, None, _problem(error, len(feed.taken)))
            feed.give_back()
            reader = dialect.reader(feed)
            continue
        if not fields or (len(fields) == 1 and not fields[0].strip()):
            continue
        if _swallows(feed.taken, fields, dialect):
            yield Fields(feed.taken[0].number, None, _problem(csv.Error("one is not closed"), 1))
            feed.give_back()
            continue
        if any(b"\r" in line.data[:-1] for line in feed.taken):
            fields = [field.replace(_RETURN, "\r") for field in fields]
        yield Fields(feed.taken[0].number, fields, _bad_byte(feed.taken))


class _TooLong(Exception):
    """A record has more bytes, or lines, than are read."""


class _Feed:
    """Lines for a reader of tables: those of the record in work can be read again."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._again: deque[Line] = deque()
        self.taken: list[Line] = []
        """The lines of the record in work."""
        self._size = 0

    def begin(self) -> None:
        """Begin a record."""
        self.taken.clear()
        self._size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self.taken.append(line)
        self._size += len(line.data)
        if line.too_long or self._size > MAX_LINE or len(self.taken) > _MOST_LINES:
            raise _TooLong
        return _text(line)

    def give_back(self) -> None:
        """Have all but the record's first line read again."""
        self._again.extendleft(reversed(self.taken[1:]))


def _text(line: Line) -> str:
    text = line.data.decode("utf-8", "surrogateescape")
    if "\r" in text[:-1]:
        text = text[:-1].replace("\r", _RETURN) + text[-1]
    return text + "\n"


def _swallows(taken: Sequence[Line], fields: list[str], dialect: Dialect) -> bool:
    """Say whether the record has lines in it that are records by themselves: its first field
    count is wrong, and theirs is right."""
    width = len(dialect.columns)
    if len(taken) < 2 or len(fields) == width or not width:
        return False
    try:
        return len(next(dialect.reader(iter([_text(taken[1])])))) == width
    except csv.Error:
        return False


def _problem(error: Exception, count: int) -> RowProblem:
    if isinstance(error, _TooLong) and count <= _MOST_LINES:
        return too_large()
    reason = "one is not closed" if isinstance(error, _TooLong) else quoted(str(error), 80)
    return RowProblem(
        "quoting",
        f"its quotes do not match: {reason}",
        'write a field that has quotes between quotes, and each of its own twice: "say ""yes"""',
    )


def _bad_byte(taken: Sequence[Line]) -> RowProblem | None:
    for line in taken:
        if not line.data.isascii() and (found := strict_json.bad_byte(line.data)):
            return found
    return None
