"""The readings of a run's machine, read on and on: only what is new, never more than a little."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.jobs.events import UNREADABLE, number

Sample = dict[str, Any]
MOST_BYTES = 1 << 20
"""Of one look; what lies further back is skipped."""
KEPT = 600
"""Readings; ten minutes where there are two a second at the most."""
HISTORY_S = 600.0
_decode = msgspec.json.Decoder(Sample).decode


class Telemetry:
    """Follows the file of one host; a file that is replaced or shorter is read anew."""

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES, kept: int = KEPT) -> None:
        self.path = path
        self.samples: deque[Sample] = deque(maxlen=kept)
        """The newest readings, oldest first."""
        self._most = most_bytes
        self._offset = 0
        self._inode = 0
        self._is_inside = False
        """Whether the offset may lie inside a line, whose rest says nothing."""

    def read(self) -> bool:
        """Read what is new, ``most_bytes`` at most; say whether there was a reading in it."""
        try:
            with self.path.open("rb") as file:
                data = self._new(file.fileno())
        except OSError:
            return False
        if self._is_inside:
            start = data.find(b"\n") + 1
            if not start:  # one line, longer than all that may be read: it is no reading
                self._offset += len(data)
                return False
            self._offset += start
            self._is_inside, data = False, data[start:]
        end = data.rfind(b"\n") + 1
        if not end and len(data) >= self._most:
            self._offset, self._is_inside = self._offset + len(data), True
        self._offset += end
        found = [one for line in data[:end].split(b"\n") if (one := _reading(line)) is not None]
        self.samples.extend(found)
        return bool(found)

    def _new(self, file: int) -> bytes:
        stat = os.fstat(file)
        if stat.st_ino != self._inode or stat.st_size < self._offset:
            self._inode, self._offset, self._is_inside = stat.st_ino, 0, False
            self.samples.clear()
        if stat.st_size - self._offset > self._most:
            self._offset, self._is_inside = stat.st_size - self._most, True
        return os.pread(file, self._most, self._offset)


def history(samples: Sequence[Sample], cells: int) -> dict[int, list[float | None]]:
    """Return for each GPU the mean use (0–100) in each of ``cells`` equal spans of the last ten
    minutes, oldest first, None for a span without a reading.

    The spans lie fixed in time, so that a new reading changes the last of them alone.
    """
    span = HISTORY_S / max(1, cells)
    sums: dict[int, dict[int, tuple[float, int]]] = {}
    newest = None
    for sample in samples:
        moment = number(sample.get("t"))
        if moment is None or not math.isfinite(moment):
            continue
        newest = int(moment // span)
        for gpu, use in _uses(sample):
            spans = sums.setdefault(gpu, {})
            total, count = spans.get(newest, (0.0, 0))
            spans[newest] = total + use, count + 1
    if newest is None:
        return {}
    places = range(newest - cells + 1, newest + 1)
    return {
        gpu: [spans[p][0] / spans[p][1] if p in spans else None for p in places]
        for gpu, spans in sums.items()
    }


def _uses(sample: Sample) -> Iterator[tuple[int, float]]:
    gpus = sample.get("gpus")
    for one in gpus if isinstance(gpus, list) else ():
        index = one.get("index") if isinstance(one, dict) else None
        use = number(one.get("utilisation")) if isinstance(index, int) else None
        if isinstance(index, int) and use is not None and math.isfinite(use):
            yield index, use


def _reading(line: bytes) -> Sample | None:
    try:
        return _decode(line) if line else None
    except UNREADABLE:
        return None
