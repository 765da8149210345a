"""Parts of a plain JSON Lines file: for several processes at once, and for a first look at it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ftwizard.data import records
from ftwizard.data.container import Container
from ftwizard.data.conversation import RowProblem
from ftwizard.data.files.lines import MAX_LINE, MAX_SHOWN_BYTES, too_large_problem
from ftwizard.data.files.source import BLOCK, Source

PEEK = 1 << 16
"""Bytes of a block of a sample."""
_LONGEST = 1 << 20
"""Bytes of the longest row that a sample has."""
_FIRST = 500
"""Rows that a sample has of a file that is not read by bytes."""
_MARK = 3
"""Bytes of the byte-order mark."""


class TooLong(bytes):
    """The beginning of a line of more than ``MAX_LINE`` bytes, which is a block of its own."""

    @property
    def problem(self) -> RowProblem:
        """Return what there is to say of it."""
        return too_large_problem()


class Sampled(NamedTuple):
    """A row of a sample."""

    offset: int | None
    """Of its first byte in the file; None where that is not known."""
    line: int | None
    """As ``Record.line``; None where that is not known."""
    value: bytes | dict[str, Any] | RowProblem
    """As ``Record.value``."""


def ranges(path: Path, container: Container, parts: int) -> list[tuple[int, int]]:
    """Cut a file into at most ``parts`` ranges of bytes ``(start, end)``, each of whole lines.

    They are in order and hold all of the file but its byte-order mark. ``container.plain`` must
    hold (else ValueError). Raises FileProblem.
    """
    _require_plain(container)
    with Source(path, container.identity) as source:
        first = _first(container)
        wanted = (source.size * part // parts for part in range(1, parts))
        starts = [first, *(_line_start(source, max(place, first)) for place in wanted), source.size]
    return [(start, end) for start, end in itertools.pairwise(starts) if start < end]


def lines_in(path: Path, container: Container, start: int, end: int) -> Iterator[bytes]:
    """Yield a range of ``ranges`` in blocks of about 256 kB, each of whole lines with their ends.

    ``block.count(b"\\n")`` adds up to line numbers: only the file's last line can lack its end. A
    block is longer for a line that is, up to ``MAX_LINE``; of a longer one it is a ``TooLong``.
    Raises FileProblem where the file is not the one that ``container`` was told of, or has
    changed when the end of the range is reached.
    """
    _require_plain(container)
    with Source(path, container.identity) as source:
        while start < end:
            block = source.read(start, min(BLOCK, end - start))
            if not block:
                break
            if start + len(block) < end:
                cut = block.rfind(b"\n") + 1
                if not cut:
                    length = _line_start(source, start + len(block)) - start
                    yield _line(source, start, length)
                    start += length
                    continue
                block = block[:cut]
            yield block
            start += len(block)
        source.check_unchanged()


def sample(
    path: Path, container: Container, *, blocks: int = 64, seed: int = 0
) -> Iterator[Sampled]:
    """Yield some rows of a file of any size in little time: its head, its tail, then blocks of
    64 KB at random places; all rows of a small one. Of a file that is not ``plain``: its head.

    Raises FileProblem.
    """
    if not container.plain:
        size = 0
        for record in itertools.islice(records.records(path, container), _FIRST):
            yield Sampled(None, record.line, record.value)
            size += len(record.value) if isinstance(record.value, bytes) else 0
            if size > blocks * PEEK:
                return
        return
    first, last = _first(container), container.size
    whole = (blocks + 2) * PEEK
    with Source(path, container.identity) as source:
        head = min(last, whole if last <= whole else first + PEEK)
        for number, (offset, line) in enumerate(_rows(source, first, head), 1):
            if line.strip():
                yield Sampled(offset, number, line)
        if head == last:
            return
        for start, end in _places(head, last, blocks, seed):
            for offset, line in _rows(source, _line_start(source, start, end), end):
                if line.strip():
                    yield Sampled(offset, None, line)


def _places(start: int, end: int, blocks: int, seed: int) -> Iterator[tuple[int, int]]:
    """Yield where the blocks of a sample are: the tail, then one in each of ``blocks`` parts."""
    tail = end - PEEK
    yield tail, end
    chance = random.Random(seed)
    step = (tail - start) / blocks
    for part in range(blocks):
        place = start + int(step * part + chance.random() * max(step - PEEK, 0))
        yield place, min(place + PEEK, tail)


def _rows(source: Source, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that begin between ``start`` and ``end``, with their places."""
    data = source.read(start, max(end - start, 0))
    place = 0
    while start + place < end:
        stop = data.find(b"\n", place)
        if stop < 0:
            data += source.read(start + len(data), _LONGEST)
            stop = data.find(b"\n", place)
        if stop < 0:
            if start + len(data) < source.size:
                return  # a row too long for a look
            stop = len(data)
        yield start + place, data[place:stop].removesuffix(b"\r")
        place = stop + 1


def _line(source: Source, start: int, length: int) -> bytes:
    if length <= MAX_LINE:
        return source.read(start, length)
    ended = source.read(start + length - 1, 1) == b"\n"
    return TooLong(source.read(start, MAX_SHOWN_BYTES) + (b"\n" if ended else b""))


def _line_start(source: Source, place: int, limit: int | None = None) -> int:
    """Return where the first line begins at or after ``place``, the ``limit`` where none does."""
    end = source.size if limit is None else limit
    if place <= 0:
        return 0
    place -= 1
    while place < end:
        block = source.read(place, min(BLOCK if limit is None else PEEK, end - place))
        if not block:
            return end
        found = block.find(b"\n")
        if found >= 0:
            return place + found + 1
        place += len(block)
    return end


def _first(container: Container) -> int:
    return _MARK if container.bom else 0


def _require_plain(container: Container) -> None:
    if not container.plain:
        raise ValueError(f"{container.words} is not read by ranges of bytes")
