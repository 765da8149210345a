"""Byte ranges and random samples of plain JSON Lines files."""

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

SAMPLE_BLOCK_BYTES = 1 << 16
"""Bytes of a sampled block."""
_MAX_SAMPLED_ROW = 1 << 20
"""Maximum bytes of a sampled row."""
_HEAD_ROWS = 500
"""Rows sampled from a file that is not read by byte ranges."""
_BOM_BYTES = 3
"""Bytes of a byte-order mark."""


class TooLong(bytes):
    """The beginning of a line longer than ``MAX_LINE`` bytes, as a separate block."""

    @property
    def problem(self) -> RowProblem:
        """Return the problem of the line."""
        return too_large_problem()


class Sampled(NamedTuple):
    """A sampled row."""

    offset: int | None
    """Byte offset in the file; None if unknown."""
    line: int | None
    """As ``Record.line``; None if unknown."""
    value: bytes | dict[str, Any] | RowProblem
    """As ``Record.value``."""


def ranges(path: Path, container: Container, parts: int) -> list[tuple[int, int]]:
    """Divide a file into at most ``parts`` byte ranges ``(start, end)`` of complete lines.

    The ranges are in order and cover the file except for its byte-order mark. Raises ValueError
    unless ``container.plain``, and FileProblem.
    """
    _require_plain(container)
    with Source(path, container.identity) as source:
        first = _get_data_start(container)
        cuts = (source.size * part // parts for part in range(1, parts))
        starts = [
            first,
            *(_find_line_start(source, max(offset, first)) for offset in cuts),
            source.size,
        ]
    return [(start, end) for start, end in itertools.pairwise(starts) if start < end]


def lines_in(path: Path, container: Container, start: int, end: int) -> Iterator[bytes]:
    """Yield a byte range in blocks of about 256 kB, each of complete lines with line feeds.

    ``block.count(b"\\n")`` sums to line numbers, because only the file's last line can lack a line
    feed. A longer line is a block of its own up to ``MAX_LINE``, beyond that a ``TooLong``. Raises
    FileProblem if the file is not the one described by ``container`` or changes while being read.
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
                    length = _find_line_start(source, start + len(block)) - start
                    yield _read_line(source, start, length)
                    start += length
                    continue
                block = block[:cut]
            yield block
            start += len(block)
        source.check_unchanged()


def sample(
    path: Path, container: Container, *, blocks: int = 64, seed: int = 0
) -> Iterator[Sampled]:
    """Yield sampled rows of a file: its head, its tail, then random blocks of 64 KB.

    Yields all rows of a small file, and only the head of a file that is not ``plain``. Raises
    FileProblem.
    """
    if not container.plain:
        size = 0
        for record in itertools.islice(records.records(path, container), _HEAD_ROWS):
            yield Sampled(None, record.line, record.value)
            size += len(record.value) if isinstance(record.value, bytes) else 0
            if size > blocks * SAMPLE_BLOCK_BYTES:
                return
        return
    first, last = _get_data_start(container), container.size
    whole = (blocks + 2) * SAMPLE_BLOCK_BYTES
    with Source(path, container.identity) as source:
        head = min(last, whole if last <= whole else first + SAMPLE_BLOCK_BYTES)
        for number, (offset, line) in enumerate(_read_lines(source, first, head), 1):
            if line.strip():
                yield Sampled(offset, number, line)
        if head == last:
            return
        for start, end in _choose_blocks(head, last, blocks, seed):
            for offset, line in _read_lines(source, _find_line_start(source, start, end), end):
                if line.strip():
                    yield Sampled(offset, None, line)


def _choose_blocks(start: int, end: int, blocks: int, seed: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of sampled blocks: the tail, then one in each of ``blocks`` parts."""
    tail = end - SAMPLE_BLOCK_BYTES
    yield tail, end
    generator = random.Random(seed)
    step = (tail - start) / blocks
    for part in range(blocks):
        offset = start + int(step * part + generator.random() * max(step - SAMPLE_BLOCK_BYTES, 0))
        yield offset, min(offset + SAMPLE_BLOCK_BYTES, tail)


def _read_lines(source: Source, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that begin between ``start`` and ``end``, with their offsets."""
    data = source.read(start, max(end - start, 0))
    index = 0
    while start + index < end:
        stop = data.find(b"\n", index)
        if stop < 0:
            data += source.read(start + len(data), _MAX_SAMPLED_ROW)
            stop = data.find(b"\n", index)
        if stop < 0:
            if start + len(data) < source.size:
                return  # too long for a sample
            stop = len(data)
        yield start + index, data[index:stop].removesuffix(b"\r")
        index = stop + 1


def _read_line(source: Source, start: int, length: int) -> bytes:
    if length <= MAX_LINE:
        return source.read(start, length)
    ended = source.read(start + length - 1, 1) == b"\n"
    return TooLong(source.read(start, MAX_SHOWN_BYTES) + (b"\n" if ended else b""))


def _find_line_start(source: Source, offset: int, limit: int | None = None) -> int:
    """Return the start of the first line at or after ``offset``, or ``limit`` if there is none."""
    end = source.size if limit is None else limit
    if offset <= 0:
        return 0
    offset -= 1
    while offset < end:
        block = source.read(
            offset, min(BLOCK if limit is None else SAMPLE_BLOCK_BYTES, end - offset)
        )
        if not block:
            return end
        newline = block.find(b"\n")
        if newline >= 0:
            return offset + newline + 1
        offset += len(block)
    return end


def _get_data_start(container: Container) -> int:
    return _BOM_BYTES if container.bom else 0


def _require_plain(container: Container) -> None:
    if not container.plain:
        raise ValueError(f"{container.words} cannot be read by byte ranges")
