"""A sample of the events of a long run that has no summary."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from ftwizard.jobs.events import Event, decode, to_count

PIECES, PIECE_BYTES = 400, 1024
"""Pieces read all over the file, for the curves."""
END_BYTES = 1 << 15
"""Bytes read at the beginning and the end of the file and at the start of the newest attempt."""
_EVALUATION = re.compile(b'"eval_(?:loss|reward)"')
_SLACK_BYTES = 1024
_SCAN_BYTES = 1 << 18
MAX_SCAN_BYTES = 1 << 26
"""Bytes searched for evaluations that are not where the distance of the last two would put them;
a tenth of a second."""
_Part = tuple[int, bytes]
"""Where whole lines begin in the file, and these lines."""


def sample_events(path: Path) -> tuple[list[Event], int]:
    """Return a sample of the events in a file, in their order, and where its last line ends.

    It has the beginning, the end, the start of the newest attempt, pieces spread evenly, and the
    evaluations, which are found by their regular distance. So one outside of a regular schedule can
    be missing, and so can other rare events.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return [], 0
    try:
        size = os.fstat(descriptor).st_size
        ends = [_read_lines(descriptor, 0, END_BYTES), _read_end(descriptor, size)]
        parts = [*ends, *_read_pieces(descriptor, size), *_find_evaluations(descriptor, size)]
        if start := _find_attempt(descriptor, size, ends[1][1]):
            parts.append(_read_lines(descriptor, start, END_BYTES))
    finally:
        os.close(descriptor)
    return decode(_join(parts))[0], ends[1][0] + len(ends[1][1])


def _join(parts: list[_Part]) -> bytes:
    """Join parts in the order of the file; lines that two of them have count once."""
    joined, end = [], 0
    for start, lines in sorted(parts):
        if start < end:
            skip = lines.rfind(b"\n", 0, end - start) + 1
            start, lines = start + skip, lines[skip:]
        joined.append(lines)
        end = max(end, start + len(lines))
    return b"".join(joined)


def _read_pieces(descriptor: int, size: int) -> list[_Part]:
    starts = (size * index // PIECES for index in range(1, PIECES))
    return [_read_lines(descriptor, start, PIECE_BYTES) for start in starts]


def _read_end(descriptor: int, size: int) -> _Part:
    return _read_lines(descriptor, max(0, size - END_BYTES), END_BYTES)


def _read_lines(descriptor: int, start: int, count: int) -> _Part:
    """Read the whole lines in a range."""
    data = os.pread(descriptor, count, start)
    begin = data.find(b"\n") + 1 if start else 0
    return start + begin, data[begin : data.rfind(b"\n") + 1]


def _find_evaluations(descriptor: int, size: int) -> list[_Part]:
    """Find the line of each evaluation, first where the distance of the last two puts it."""
    evaluations: list[_Part] = []
    position, scanned = 0, 0
    while position < size and scanned < MAX_SCAN_BYTES:
        if len(evaluations) > 1:
            distance = evaluations[-1][0] - evaluations[-2][0]
            slack = _SLACK_BYTES + distance // 64
            start = max(position, evaluations[-1][0] + distance - slack)
            if line := _find_line(descriptor, start, 2 * slack + _SLACK_BYTES):
                evaluations.append(line)
                position = line[0] + len(line[1])
                continue
        line = None
        while line is None and position < size and scanned < MAX_SCAN_BYTES:
            line = _find_line(descriptor, position, _SCAN_BYTES + _SLACK_BYTES)
            position += _SCAN_BYTES
            scanned += _SCAN_BYTES
        if line is not None:
            evaluations.append(line)
            position = line[0] + len(line[1])
    return evaluations


def _find_line(descriptor: int, start: int, count: int) -> _Part | None:
    """Return the first whole line with an evaluation in a range."""
    data = os.pread(descriptor, count, start)
    match = _EVALUATION.search(data)
    index = match.start() if match else -1
    begin = data.rfind(b"\n", 0, max(0, index)) + 1
    end = data.find(b"\n", index) + 1
    if index < 0 or not end or (start and not begin):
        return None
    return start + begin, data[begin:end]


def _find_attempt(descriptor: int, size: int, end: bytes) -> int:
    """Return about where the newest attempt begins, by bisection; 0 if that is the beginning."""
    newest = _get_attempt(end)
    low, high = 0, size
    while newest is not None and high - low > _SLACK_BYTES:
        middle = (low + high) // 2
        attempt = _get_attempt(_read_lines(descriptor, middle, 16 * _SLACK_BYTES)[1])
        if attempt is not None and attempt < newest:
            low = middle
        else:
            high = middle
    return low


def _get_attempt(lines: bytes) -> int | None:
    """Return the attempt of the first event in lines."""
    with contextlib.suppress(IndexError):
        return to_count(decode(lines[: lines.find(b"\n") + 1])[0][0].get("attempt", 0))
    return None
