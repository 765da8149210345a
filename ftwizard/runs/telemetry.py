"""Incremental reading of a run's machine telemetry."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.jobs.events import UNREADABLE, to_number

Sample = dict[str, Any]
MAX_BYTES = 1 << 20
"""Bytes per read; older data is skipped."""
MAX_SAMPLES = 600
"""Samples kept in memory: at least five minutes, at two a second."""
HISTORY_S = 600.0
_decode = msgspec.json.Decoder(Sample).decode


class Telemetry:
    """Follows one host's file; a file that was replaced or truncated is read from the start."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, kept: int = MAX_SAMPLES) -> None:
        self.path = path
        self.samples: deque[Sample] = deque(maxlen=kept)
        """The newest samples, oldest first."""
        self._max_bytes = max_bytes
        self._offset = 0
        self._inode = 0
        self._is_inside = False
        """Whether the offset may be inside a line, whose rest is skipped."""

    def read(self) -> bool:
        """Read new data, at most ``max_bytes``; return whether it contained a sample."""
        try:
            with self.path.open("rb") as file:
                data = self._new(file.fileno())
        except OSError:
            return False
        if self._is_inside:
            start = data.find(b"\n") + 1
            if not start:  # a line longer than a read is not a sample
                self._offset += len(data)
                return False
            self._offset += start
            self._is_inside, data = False, data[start:]
        end = data.rfind(b"\n") + 1
        if not end and len(data) >= self._max_bytes:
            self._offset, self._is_inside = self._offset + len(data), True
        self._offset += end
        lines = data[:end].split(b"\n")
        samples = [sample for line in lines if (sample := _decode_line(line)) is not None]
        self.samples.extend(samples)
        return bool(samples)

    def _new(self, file: int) -> bytes:
        stat = os.fstat(file)
        if stat.st_ino != self._inode or stat.st_size < self._offset:
            self._inode, self._offset, self._is_inside = stat.st_ino, 0, False
            self.samples.clear()
        if stat.st_size - self._offset > self._max_bytes:
            self._offset, self._is_inside = stat.st_size - self._max_bytes, True
        return os.pread(file, self._max_bytes, self._offset)


def history(samples: Sequence[Sample], cells: int) -> dict[int, list[float | None]]:
    """Return each GPU's mean utilization (0–100) over the last ten minutes in ``cells`` equal spans.

    Oldest first, None for a span without a sample. The spans are fixed in time, so that a new
    sample only changes the last one.
    """
    span = HISTORY_S / max(1, cells)
    sums: dict[int, dict[int, tuple[float, int]]] = {}
    newest = None
    for sample in samples:
        time = to_number(sample.get("t"))
        if time is None or not math.isfinite(time):
            continue
        newest = int(time // span)
        for gpu, utilization in _utilizations(sample):
            spans = sums.setdefault(gpu, {})
            total, count = spans.get(newest, (0.0, 0))
            spans[newest] = total + utilization, count + 1
    if newest is None:
        return {}
    indices = range(newest - cells + 1, newest + 1)
    return {
        gpu: [spans[i][0] / spans[i][1] if i in spans else None for i in indices]
        for gpu, spans in sums.items()
    }


def _utilizations(sample: Sample) -> Iterator[tuple[int, float]]:
    gpus = sample.get("gpus")
    for gpu in gpus if isinstance(gpus, list) else ():
        index = gpu.get("index") if isinstance(gpu, dict) else None
        utilization = to_number(gpu.get("utilisation")) if isinstance(index, int) else None
        if isinstance(index, int) and utilization is not None and math.isfinite(utilization):
            yield index, utilization


def _decode_line(line: bytes) -> Sample | None:
    try:
        return _decode(line) if line else None
    except UNREADABLE:
        return None
