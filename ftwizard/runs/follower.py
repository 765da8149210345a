"""Follower of a run for every view: it reads the run's folder in bounded slices."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from pathlib import Path
from typing import Any, Literal

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.jobs.events import UNREADABLE, EventReader, LineReader
from ftwizard.jobs.folder import JobFolder, read_end
from ftwizard.jobs.status import Status, observe
from ftwizard.runs import store, watched
from ftwizard.runs.progress import Progress
from ftwizard.runs.store import RunStatus
from ftwizard.runs.summary import ProgressReader

SLICE_BYTES = 1 << 16
LOG_TAIL_BYTES = 1 << 14
MIN_LONG_BYTES = 1 << 23
"""Unread events from which the summary is shown until they are read."""
Sample = dict[str, Any]
"""A reading of the machine."""
MAX_TELEMETRY_BYTES = 1 << 20
"""Bytes of telemetry per read; older data is skipped."""
MAX_SAMPLES = 600
"""Samples kept in memory: at least five minutes, at two a second."""
_decode = msgspec.json.Decoder(Sample).decode


class Telemetry(LineReader):
    """Follows one host's file, from its last ``max_bytes`` on."""

    def __init__(
        self, path: Path, *, max_bytes: int = MAX_TELEMETRY_BYTES, kept: int = MAX_SAMPLES
    ) -> None:
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
        samples = [reading for line in lines if (reading := _decode_line(line)) is not None]
        self.samples.extend(samples)
        return bool(samples)

    def restart(self) -> None:
        super().restart()
        self.samples.clear()


Origin = Literal["run", "script", "file"]
"""Where a curve is from: a run, a script of the user's own that records itself as one, or a file of
another tool, which cannot be asked for anything."""


class Follower:
    """Follows one run. It only reads; ``read`` returns quickly."""

    origin: Origin = "run"

    def __init__(
        self, folder: JobFolder, *, is_summary: bool = False, asks_slurm: bool = True
    ) -> None:
        """Follow a run; ``is_summary``: with the bounded progress of its summary, as in a list.

        ``asks_slurm``: False for a first status by the files alone, without waiting for Slurm.
        """
        self.folder = folder
        self.script = watched.read(folder)
        """The training of a watched run; None for others."""
        if self.script:
            self.origin = "script"
        reader = ProgressReader(folder) if is_summary else None
        self.progress = reader.progress if reader else Progress()
        self._events = reader.events if reader else EventReader(folder.events)
        self.is_gone = False
        """Whether the folder was removed."""
        self._overview: Progress | None = None
        if self._events.behind > MIN_LONG_BYTES:
            overview = ProgressReader(folder).progress
            self._overview = overview if overview.updated else None
        self._telemetry: Telemetry | None = None
        self.status: Status = Status(state="starting", attempt=0)
        self.read_state(asks_slurm=asks_slurm)

    @property
    def shown(self) -> Progress:
        """Return the progress to draw: for a long run, its summary until all of it is read."""
        return self._overview or self.progress

    @property
    def is_behind(self) -> bool:
        return self._overview is not None

    @property
    def run_status(self) -> RunStatus:
        """Return the status, as ``ftwizard status`` does."""
        return store.make_status(self.folder, self.status, self.shown)

    @property
    def torn(self) -> int:
        return self._events.torn

    def read_state(self, *, asks_slurm: bool = True) -> None:
        """Read the status; where it depends on Slurm, this takes seconds if Slurm is slow."""
        try:
            self.is_gone = not self.folder.job.is_file()
            if not self.is_gone:
                self.status = observe(self.folder, asks_slurm=asks_slurm)
        except OSError:
            self.is_gone = True

    def read(self, budget_s: float) -> bool:
        """Read new events for about ``budget_s`` seconds; return whether more remain."""
        end = time.perf_counter() + budget_s
        while True:
            try:
                events = self._events.read(SLICE_BYTES)
            except OSError:
                return False
            self.progress.feed(events)
            if not events:
                self._overview = None
                return False
            if time.perf_counter() >= end:
                return True

    def machine(self) -> list[Sample]:
        """Return the newest readings of the host that wrote last, oldest first; reads only new data."""
        files = sorted(self.folder.path.glob("machine.*.jsonl"), key=_get_mtime)
        if not files:
            return []
        path = self._choose_machine(files)
        if self._telemetry is None or self._telemetry.path != path:
            self._telemetry = Telemetry(path)
        self._telemetry.read()
        return list(self._telemetry.samples)

    def _choose_machine(self, files: list[Path]) -> Path:
        """Return the file of the newest attempt's host; without one, the file changed last."""
        if len(files) > 1:
            with contextlib.suppress(OSError, FtwizardError):
                own = self.folder.machine(self.folder.read_attempt(self.status.attempt).host)
                return own if own in files else files[-1]
        return files[-1]

    def log(self, lines: int) -> list[str]:
        """Return the last lines of the worker's log.

        Of a progress bar that overwrites itself, only its last state is returned.
        """
        data = read_end(self.folder.log, LOG_TAIL_BYTES)
        if len(data) >= LOG_TAIL_BYTES:  # whole lines, or the end of a longer line
            data = data[data.find(b"\n") + 1 :] or data
        overwritten = (
            [state for state in line.split("\r") if state.strip()]
            for line in data.decode(errors="replace").split("\n")
        )
        return [states[-1] for states in overwritten if states][-lines:]


def _get_mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _decode_line(line: bytes) -> Sample | None:
    try:
        return _decode(line) if line else None
    except UNREADABLE:
        return None
