"""The summary of a run: a file with the progress up to an event, so that a view reads only the rest.

The events remain the truth. A summary that is missing, damaged or of other events is ignored.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import threading
import time
import traceback
import zlib
from array import array
from pathlib import Path

import msgspec

from ftwizard.alarm import Alarm
from ftwizard.jobs.clock import TimeAlive
from ftwizard.jobs.events import Event, EventReader
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs.progress import Progress
from ftwizard.timeseries import ThinSeries

VERSION = 1
INTERVAL_S = 2.0
"""Seconds between two summaries of a run that trains."""
SLICE_BYTES = 1 << 16
PAUSE_S = 0.02
"""Pause between two slices of a long file, so that reading it does not slow the training."""
_PROOF_BYTES = 4096
_SCALARS = tuple(
    name
    for name, value in vars(Progress()).items()
    if value is None or isinstance(value, int | float | str)
)
"""Attributes of a progress that are one value."""
_TIMES = ("alive", "training", "fetching")


class _Points(msgspec.Struct, array_like=True):
    xs: bytes
    ys: bytes
    stride: int
    count: int


class _Summary(msgspec.Struct, kw_only=True):
    version: int = VERSION
    byteorder: str = sys.byteorder
    offset: int
    """Bytes of the events that it covers."""
    proof: bytes
    """Hash of the last of these bytes."""
    scalars: dict[str, bool | int | float | str | None]
    times: dict[str, TimeAlive]
    recent: list[tuple[float, int, float]]
    findings: list[Event]
    checkpoints: dict[int, float | None]
    series: dict[str, _Points]


_decoder = msgspec.msgpack.Decoder(_Summary)


class _Events(EventReader):
    """Events of a progress, which begins anew where their file does, as when it was truncated."""

    def __init__(self, path: Path, progress: Progress) -> None:
        super().__init__(path)
        self._progress = progress

    def restart(self) -> None:
        super().restart()
        vars(self._progress).update(vars(Progress(is_summary=True)))


class ProgressReader:
    """Reads the progress of a run: from its summary, and from the events after it."""

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self.progress = Progress(is_summary=True)
        path = folder.link / folder.events.name  # it may move
        self.events: EventReader = _Events(path, self.progress)
        summary = _read(folder)
        if summary is not None:
            with contextlib.suppress(OSError):
                self.events.start_at(summary.offset)
                _restore(summary, self.progress)

    def read(self) -> Progress:
        """Read all new events."""
        for events in self.events.read_slices():
            self.progress.feed(events)
        return self.progress

    def write(self) -> None:
        """Write the summary; OSError if the disk does not take it."""
        proof = _prove(self._folder, self.events.offset)
        if proof is not None:
            _replace(self._folder, _encode(self.progress, self.events.offset, proof))


def read_progress(folder: JobFolder) -> Progress:
    """Return the progress of a run, for figures and text; series are thin in long runs."""
    return ProgressReader(folder).read()


class SummaryWriter:
    """Keeps the summary of a run in a thread of its worker, from the events on disk.

    Nothing that fails here affects the training: a summary is only ever behind.
    """

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self._closing = Alarm()
        self._thread = threading.Thread(target=self._work, daemon=True, name="summary")
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join(timeout=5)

    def _work(self) -> None:
        try:
            reader = ProgressReader(self._folder)
            written = reader.events.offset
            while not self._closing.wait(INTERVAL_S):
                self._read(reader)
                if reader.events.offset != written:
                    with contextlib.suppress(OSError):
                        reader.write()
                        written = reader.events.offset
            self._read(reader)
            with contextlib.suppress(OSError):
                reader.write()
        except Exception:  # noqa: BLE001 (the training continues whatever happens here)
            traceback.print_exc(file=sys.stderr)

    def _read(self, reader: ProgressReader) -> None:
        with contextlib.suppress(OSError):
            for events in reader.events.read_slices(SLICE_BYTES):
                reader.progress.feed(events)
                if reader.events.behind > SLICE_BYTES:
                    time.sleep(PAUSE_S)
                if self._closing.is_set():
                    return


def _encode(progress: Progress, offset: int, proof: bytes) -> bytes:
    thin = {**progress.metrics, "": progress.times}
    summary = _Summary(
        offset=offset,
        proof=proof,
        scalars={name: getattr(progress, name) for name in _SCALARS},
        times={name: getattr(progress, name) for name in _TIMES},
        recent=list(progress.recent),
        findings=progress.findings,
        checkpoints=progress.checkpoints,
        series={
            name: _Points(series.xs.tobytes(), series.ys.tobytes(), series.stride, series.count)
            for name, series in thin.items()
            if isinstance(series, ThinSeries)
        },
    )
    data = msgspec.msgpack.encode(summary)
    return zlib.crc32(data).to_bytes(4, "big") + data


def _read(folder: JobFolder) -> _Summary | None:
    """Return the summary of a run; None if it is missing, damaged, or not of its events."""
    try:
        data = folder.summary.read_bytes()
        if zlib.crc32(data[4:]) != int.from_bytes(data[:4], "big"):
            return None
        summary = _decoder.decode(memoryview(data)[4:])
        is_ours = (summary.version, summary.byteorder) == (VERSION, sys.byteorder)
        has_all = summary.scalars.keys() == set(_SCALARS) and summary.times.keys() == set(_TIMES)
        if is_ours and has_all and _prove(folder, summary.offset) == summary.proof:
            return summary
    except (OSError, ValueError, RecursionError):
        pass
    return None


def _restore(summary: _Summary, progress: Progress) -> None:
    for name, value in {**summary.scalars, **summary.times}.items():
        setattr(progress, name, value)
    progress.recent.extend(summary.recent)
    progress.findings = summary.findings
    progress.checkpoints = summary.checkpoints
    for name, points in summary.series.items():
        series = progress.get_series(name) if name else progress.times
        assert isinstance(series, ThinSeries)
        series.replace(array("d", points.xs), array("d", points.ys))
        series.stride, series.count = points.stride, points.count


def _prove(folder: JobFolder, offset: int) -> bytes | None:
    """Return a hash of the events' bytes before ``offset``; None if there are not as many.

    Each event has its time, so the last lines are found in no other file.
    """
    with folder.events.open("rb") as file:
        if os.fstat(file.fileno()).st_size < offset:
            return None
        start = max(0, offset - _PROOF_BYTES)
        file.seek(start)
        return hashlib.sha256(file.read(offset - start)).digest()


def _replace(folder: JobFolder, data: bytes) -> None:
    """Replace the summary atomically. Unsynced: after a power loss, its checksum fails."""
    path = folder.summary
    temporary = path.with_name(f".{path.name}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(data)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
