"""Single pass over all rows of a data file, in several processes for large files."""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Iterator
from pathlib import Path

from ftwizard.data.checks.fast_path import PlainChat
from ftwizard.data.checks.row_checker import RowChecker
from ftwizard.data.format_names import Format
from ftwizard.data.io import chunks, records
from ftwizard.data.io.chunks import FilePart, ReportProgress
from ftwizard.data.io.inspect import Container
from ftwizard.data.platforms import Target

PROGRESS_ROWS = 1_000
"""Rows between progress reports."""


class ScanResult:
    """Results of one pass."""

    def __init__(self, checker: RowChecker, lines: int) -> None:
        self.rows = checker.rows
        self.usable = checker.usable
        self.findings = checker.findings
        self.hashes = checker.hashes
        self.tally = checker.tally
        self.file_checks = checker.file_checks
        self.lines = lines

    def extend(self, later: ScanResult) -> None:
        """Add the results of the next part of the file."""
        self.rows += later.rows
        self.usable += later.usable
        self.findings.extend(later.findings, self.lines)
        self.hashes.extend(later.hashes, self.lines)
        self.tally.merge(later.tally)
        for mine, theirs in zip(self.file_checks, later.file_checks, strict=True):
            mine.extend(theirs, self.lines)
        self.lines += later.lines


def scan(
    path: Path, container: Container, format: Format, target: Target, *, exactly: bool,
    say: ReportProgress, processes: int | None = None,
) -> ScanResult:  # fmt: skip
    """Check every row of a file as ``format`` for ``target``.

    Raises FileProblem if the file is corrupt or changes during the pass.
    """
    if not container.is_plain_lines:
        return _scan_records(path, container, RowChecker(format, target, exactly=exactly), say)
    work = functools.partial(_scan_part, format=format, target=target, exactly=exactly)
    results = chunks.map_parts(work, chunks.split_into_parts(path, container), processes, say)
    scanned = next(results)
    for part in results:
        scanned.extend(part)
    return scanned


_RETAINED_BYTES = 8 << 20


@contextlib.contextmanager
def _steady_memory() -> Iterator[None]:
    """Make memory allocation cheap between blocks.

    The cyclic garbage collector is off: rows contain no cycles. Freeing one large untouched block
    raises glibc's trim threshold, so the memory of a block's rows is not returned to the kernel and
    requested again for the next block.
    """
    bytes(_RETAINED_BYTES)
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_steady_memory()
def _scan_part(part: FilePart, format: Format, target: Target, exactly: bool) -> ScanResult:
    checker = RowChecker(format, target, exactly=exactly)
    plain = PlainChat(target, checker) if format == "openai-chat" else None
    lines = 0
    for block in part.blocks():
        lines += block.line_count
        if block.problem:
            checker.take(block.line, block.problem)
        elif plain:
            plain.take(block)
        else:
            for number, raw in enumerate(block.lines(), block.line):
                checker.take(number, raw)
    if plain:
        plain.finish()
    return ScanResult(checker, lines)


def _scan_records(
    path: Path, container: Container, checker: RowChecker, say: ReportProgress
) -> ScanResult:
    line = 0
    for count, record in enumerate(records.read_records(path, container), 1):
        line = record.line
        checker.take(line, record.value)
        if count % PROGRESS_ROWS == 0:
            say(count, 0)
    return ScanResult(checker, line)
