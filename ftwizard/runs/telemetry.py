"""Incremental reading of a run's machine telemetry."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.jobs.events import UNREADABLE, LineReader, to_number

Sample = dict[str, Any]
MAX_BYTES = 1 << 20
"""Bytes per read; older data is skipped."""
MAX_SAMPLES = 600
"""Samples kept in memory: at least five minutes, at two a second."""
HISTORY_S = 600.0
_decode = msgspec.json.Decoder(Sample).decode


class Telemetry(LineReader):
    """Follows one host's file, from its last ``max_bytes`` on."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, kept: int = MAX_SAMPLES) -> None:
        super().__init__(path)
        self.samples: deque[Sample] = deque(maxlen=kept)
        """The newest samples, oldest first."""
        self._max_bytes = max_bytes

    def read(self) -> bool:
        """Read new data, at most ``max_bytes``; return whether it contained a sample."""
        try:
            if self.behind > self._max_bytes:
                self.skip(self._max_bytes)
            lines = self.read_lines().split(b"\n")
        except OSError:
            return False
        samples = [sample for line in lines if (sample := _decode_line(line)) is not None]
        self.samples.extend(samples)
        return bool(samples)

    def restart(self) -> None:
        super().restart()
        self.samples.clear()


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
