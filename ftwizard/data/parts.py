"""A plain JSON Lines file in parts, which several processes work through."""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, TypeVar

from ftwizard.data import ranges
from ftwizard.data.container import Container
from ftwizard.data.conversation import RowProblem

PART_BYTES = 32 << 20
"""A process gets parts of about this size: enough to be worth its while, small enough to say how
far it is."""
MOST_PROCESSES = 8
_LINE_FEED = ord("\n")
_AHEAD = 2
"""Parts in the making for each process, at most: results must not pile up."""

T = TypeVar("T")
Say = Callable[[int, int], None]
"""Hears how many bytes are done, of how many; where that is not known how many rows, and 0."""


class Block(NamedTuple):
    """Whole lines, one after another."""

    line: int
    """The first one's number in its part, from 1."""
    height: int
    """How many there are."""
    data: bytes
    """With line feeds; the last may lack its own."""
    problem: RowProblem | None = None
    """In place of the data: why a line cannot be read."""

    def lines(self) -> list[bytes]:
        """Return the lines without their ends."""
        return self.data.removesuffix(b"\n").split(b"\n")


class Part(NamedTuple):
    """Whole lines of a file."""

    path: Path
    container: Container
    start: int
    end: int

    def blocks(self) -> Iterator[Block]:
        """Yield the lines in blocks, in order."""
        import numpy as np  # a first look does without it

        line = 1
        for data in ranges.lines_in(self.path, self.container, self.start, self.end):
            if isinstance(data, ranges.TooLong):
                yield Block(line, 1, b"", data.problem)
                line += 1
                continue
            # Five times as fast as bytes.count.
            ends = int(np.count_nonzero(np.frombuffer(data, np.uint8) == _LINE_FEED))
            count = ends + (not data.endswith(b"\n"))
            yield Block(line, count, data)
            line += count


def parts_of(path: Path, container: Container) -> list[Part]:
    """Cut a ``plain`` file. Raises FileProblem."""
    count = max(1, container.size // PART_BYTES)
    found = ranges.ranges(path, container, count)
    return [Part(path, container, start, end) for start, end in found]


def in_order(
    work: functools.partial[T], parts: list[Part], processes: int | None, say: Say
) -> Iterator[T]:
    """Yield what ``work`` makes of each part, in the order of the file.

    ``work`` and what it returns travel between processes, of which there are as many as
    processors, unless told.
    """
    workers = min(processes or _processors(), len(parts), MOST_PROCESSES)
    results = map(work, parts) if workers == 1 else _beside(work, parts, workers)
    for part, result in zip(parts, results, strict=True):
        yield result
        say(part.end, part.container.size)


def _beside(work: functools.partial[T], parts: list[Part], workers: int) -> Iterator[T]:
    context = get_context("forkserver")  # this process may have threads, which forks break
    context.set_forkserver_preload([work.func.__module__])
    done = 0
    pool = ProcessPoolExecutor(workers, mp_context=context)
    try:
        waiting: deque[Future[T]] = deque()
        for part in parts:
            waiting.append(pool.submit(work, part))
            if len(waiting) > _AHEAD * workers:
                yield waiting.popleft().result()
                done += 1
        while waiting:
            yield waiting.popleft().result()
            done += 1
    except BrokenExecutor:  # a process was killed: memory, or somebody's hand
        yield from map(work, parts[done:])
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _processors() -> int:
    return len(os.sched_getaffinity(0))
