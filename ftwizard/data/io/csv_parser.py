"""Strict CSV parsing; an unmatched quote only invalidates its own line."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from ftwizard.data.example import RowProblem
from ftwizard.data.io import strict_json
from ftwizard.data.io.lines import MAX_LINE, TextLine, too_large_problem
from ftwizard.data.privacy.quote import quote

csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))

_MAX_LINES = 20_000
"""Maximum lines of a record; one that seems longer has an unmatched quote."""
_RETURN = "\udc0d"
"""Stands for a carriage return within a line, which csv.reader would take for the line's end.
Some writers do not quote it."""


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """How a table is written: delimiter, quoting and columns."""

    delimiter: str
    quoted: bool = True
    """Whether quotes enclose fields with delimiters and line feeds; otherwise they are text."""
    columns: tuple[str, ...] = ()
    """Names from the header; an unnamed column is named by its position, as in pandas."""

    def reader(self, lines: Iterator[str]) -> Iterator[list[str]]:
        """Return a reader of ``lines`` that raises csv.Error for unmatched quotes."""
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE,
            strict=True,
        )


class CsvRecord(NamedTuple):
    """One record."""

    line: int
    """The 1-based physical line it begins at."""
    fields: list[str] | None
    """None if it could not be parsed."""
    problem: RowProblem | None = None
    """The cause; also set for invalid UTF-8, which ``fields`` hold as surrogate escapes."""


def parse_records(lines: Iterator[TextLine], dialect: Dialect) -> Iterator[CsvRecord]:
    """Yield the records of ``lines``, header included; skip blank lines.

    Broken from ``lines`` propagates.
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
            yield CsvRecord(feed.taken[0].number, None, _to_problem(error, len(feed.taken)))
            feed.push_back()
            reader = dialect.reader(feed)
            continue
        if not fields or (len(fields) == 1 and not fields[0].strip()):
            continue
        if _swallows_record(feed.taken, fields, dialect):
            yield CsvRecord(
                feed.taken[0].number, None, _to_problem(csv.Error("a quote is not closed"), 1)
            )
            feed.push_back()
            continue
        if any(b"\r" in line.data[:-1] for line in feed.taken):
            fields = [field.replace(_RETURN, "\r") for field in fields]
        yield CsvRecord(feed.taken[0].number, fields, _find_bad_byte(feed.taken))


class _TooLong(Exception):
    """A record exceeds the limits on bytes or lines."""


class _Feed:
    """Lines for csv.reader; the lines of the current record can be read again."""

    def __init__(self, lines: Iterator[TextLine]) -> None:
        self._lines = lines
        self._pushed_back: deque[TextLine] = deque()
        self.taken: list[TextLine] = []
        """The lines of the current record."""
        self._size = 0

    def begin(self) -> None:
        """Start a new record."""
        self.taken.clear()
        self._size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._pushed_back.popleft() if self._pushed_back else next(self._lines)
        self.taken.append(line)
        self._size += len(line.data)
        if line.too_long or self._size > MAX_LINE or len(self.taken) > _MAX_LINES:
            raise _TooLong
        return _to_text(line)

    def push_back(self) -> None:
        """Push back all lines of the record but its first."""
        self._pushed_back.extendleft(reversed(self.taken[1:]))


def _to_text(line: TextLine) -> str:
    text = line.data.decode("utf-8", "surrogateescape")
    if "\r" in text[:-1]:
        text = text[:-1].replace("\r", _RETURN) + text[-1]
    return text + "\n"


def _swallows_record(taken: Sequence[TextLine], fields: list[str], dialect: Dialect) -> bool:
    """Return whether the record has swallowed lines that are records by themselves.

    Its own field count is wrong, while that of its second line is right.
    """
    width = len(dialect.columns)
    if len(taken) < 2 or len(fields) == width or not width:
        return False
    try:
        return len(next(dialect.reader(iter([_to_text(taken[1])])))) == width
    except csv.Error:
        return False


def _to_problem(error: Exception, count: int) -> RowProblem:
    if isinstance(error, _TooLong) and count <= _MAX_LINES:
        return too_large_problem()
    reason = "a quote is not closed" if isinstance(error, _TooLong) else quote(str(error), 80)
    return RowProblem(
        "quoting",
        f"unmatched quotes: {reason}",
        'quote fields that contain quotes, and double the quotes inside: "say ""yes"""',
    )


def _find_bad_byte(taken: Sequence[TextLine]) -> RowProblem | None:
    for line in taken:
        if not line.data.isascii() and (problem := strict_json.find_bad_byte(line.data)):
            return problem
    return None
