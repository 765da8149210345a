"""One pass over a data file, in several processes where it pays: every row, whatever its size."""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Iterator
from pathlib import Path

from ftwizard.data import parts, records
from ftwizard.data.container import Container
from ftwizard.data.format_names import Format
from ftwizard.data.parts import Part, Say
from ftwizard.data.plain_chat import PlainChat
from ftwizard.data.row_checker import RowChecker
from ftwizard.data.targets import Target

TELL_ROWS = 1_000


class Scanned:
    """What one pass found."""

    def __init__(self, checker: RowChecker, lines: int) -> None:
        self.rows = checker.rows
        self.usable = checker.usable
        self.findings = checker.findings
        self.facts = checker.facts
        self.tally = checker.tally
        self.shapes = checker.shapes
        self.lines = lines

    def extend(self, later: Scanned) -> None:
        """Take in the part of the file that follows."""
        self.rows += later.rows
        self.usable += later.usable
        self.findings.merge(later.findings, self.lines)
        self.facts.extend(later.facts, self.lines)
        self.tally.merge(later.tally)
        for mine, theirs in zip(self.shapes, later.shapes, strict=True):
            mine.merge(theirs, self.lines)  # type: ignore[arg-type]  # of one class, as made
        self.lines += later.lines


def scan(
    path: Path, container: Container, format: Format, target: Target, *, exactly: bool,
    say: Say, processes: int | None = None,
) -> Scanned:  # fmt: skip
    """Check every row of a file as ``format`` for ``target``.

    Raises FileProblem where the file turns out to be damaged or changes meanwhile.
    """
    if not container.plain:
        return _by_records(path, container, RowChecker(format, target, exactly=exactly), say)
    work = functools.partial(_part, format=format, target=target, exactly=exactly)
    results = parts.in_order(work, parts.parts_of(path, container), processes, say)
    found = next(results)
    for part in results:
        found.extend(part)
    return found


_KEPT_BYTES = 8 << 20


@contextlib.contextmanager
def _steady_memory() -> Iterator[None]:
    """Let memory go from one block's rows to the next one's without more ado.

    The collector of cycles rests: rows make none, and it looks for them at every few. And glibc
    gives freed memory back beyond twice the largest piece that it has seen freed, so that a large
    one, never written to, saves asking the kernel for the same pages at each block.
    """
    bytes(_KEPT_BYTES)
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@_steady_memory()
def _part(part: Part, format: Format, target: Target, exactly: bool) -> Scanned:
    checker = RowChecker(format, target, exactly=exactly)
    plain = PlainChat(target, checker) if format == "openai-chat" else None
    lines = 0
    for block in part.blocks():
        lines += block.height
        if block.problem:
            checker.take(block.line, block.problem)
        elif plain:
            plain.take(block)
        else:
            for number, raw in enumerate(block.lines(), block.line):
                checker.take_line(number, raw)
    if plain:
        plain.finish()
    return Scanned(checker, lines)


def _by_records(path: Path, container: Container, checker: RowChecker, say: Say) -> Scanned:
    line = 0
    for done, record in enumerate(records.records(path, container), 1):
        line = record.line
        if isinstance(record.value, bytes):
            checker.take_line(line, record.value)
        else:
            checker.take(line, record.value)
        if done % TELL_ROWS == 0:
            say(done, 0)
    return Scanned(checker, line)
