"""Parallel processing of plain JSON Lines files in parts."""

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
"""Approximate size of a part: large enough to be efficient, small enough for progress reports."""
MAX_PROCESSES = 8
_LINE_FEED = ord("\n")
_MAX_PENDING = 2
"""Maximum parts in progress per process, so that results do not pile up."""

T = TypeVar("T")
Say = Callable[[int, int], None]
"""Progress callback: bytes done and total bytes, or rows done and 0 if the total is unknown."""


class Block(NamedTuple):
    """Consecutive complete lines."""

    line: int
    """Number of the first line within its part, from 1."""
    height: int
    """Number of lines."""
    data: bytes
    """Including line feeds; the last line may lack one."""
    problem: RowProblem | None = None
    """Set instead of the data: why a line cannot be read."""

    def lines(self) -> list[bytes]:
        """Return the lines without line feeds."""
        return self.data.removesuffix(b"\n").split(b"\n")


class Part(NamedTuple):
    """A byte range of a file that consists of complete lines."""

    path: Path
    container: Container
    start: int
    end: int

    def blocks(self) -> Iterator[Block]:
        """Yield the lines in blocks, in order."""
        import numpy as np  # not needed for a first look

        line = 1
        for data in ranges.lines_in(self.path, self.container, self.start, self.end):
            if isinstance(data, ranges.TooLong):
                yield Block(line, 1, b"", data.problem)
                line += 1
                continue
            # Five times faster than bytes.count.
            ends = int(np.count_nonzero(np.frombuffer(data, np.uint8) == _LINE_FEED))
            count = ends + (not data.endswith(b"\n"))
            yield Block(line, count, data)
            line += count


def parts_of(path: Path, container: Container) -> list[Part]:
    """Divide a ``plain`` file into parts; raise FileProblem."""
    count = max(1, container.size // PART_BYTES)
    byte_ranges = ranges.ranges(path, container, count)
    return [Part(path, container, start, end) for start, end in byte_ranges]


def in_order(
    work: functools.partial[T], parts: list[Part], processes: int | None, say: Say
) -> Iterator[T]:
    """Yield the result of ``work`` for each part, in file order.

    ``work`` and its results must be picklable. ``processes`` defaults to the number of CPU cores.
    """
    workers = min(processes or _count_cores(), len(parts), MAX_PROCESSES)
    results = map(work, parts) if workers == 1 else _run_in_processes(work, parts, workers)
    for part, result in zip(parts, results, strict=True):
        yield result
        say(part.end, part.container.size)


def _run_in_processes(work: functools.partial[T], parts: list[Part], workers: int) -> Iterator[T]:
    context = get_context("forkserver")  # forking is unsafe, because this process may have threads
    context.set_forkserver_preload([work.func.__module__])
    done = 0
    pool = ProcessPoolExecutor(workers, mp_context=context)
    try:
        waiting: deque[Future[T]] = deque()
        for part in parts:
            waiting.append(pool.submit(work, part))
            if len(waiting) > _MAX_PENDING * workers:
                yield waiting.popleft().result()
                done += 1
        while waiting:
            yield waiting.popleft().result()
            done += 1
    except BrokenExecutor:  # a process was killed, for example for memory
        yield from map(work, parts[done:])
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _count_cores() -> int:
    return len(os.sched_getaffinity(0))
