"""One run as every view sees it: its folder read on and on, in bounded slices."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from ftwizard import runs
from ftwizard.jobs.events import EventReader, sample
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import Status, observe
from ftwizard.runs import Progress, RunStatus
from ftwizard.telemetry import Telemetry

SLICE_BYTES = 1 << 16
LONG_BYTES = 1 << 23
"""A run of more events than these many bytes is first shown by a sample of them."""
PIECES, PIECE_BYTES = 400, 1024
LOG_TAIL_BYTES = 1 << 14


class Follower:
    """Follows one run. It only reads; ``look`` and ``read`` never take long."""

    def __init__(self, folder: JobFolder) -> None:
        self.folder = folder
        self.progress = Progress()
        self.is_gone = False
        """Whether the folder has been removed."""
        self._events = EventReader(folder.events)
        self.heard = time.monotonic()
        """When something new was read, by the monotonic clock; at first, when it began to look."""
        self._overview = self._sampled()
        self._telemetry: Telemetry | None = None
        self.status: Status = Status(state="starting", attempt=0)
        self.look()

    @property
    def shown(self) -> Progress:
        """Return what to draw: of a long run that is not read yet, a sample of all of it."""
        return self._overview or self.progress

    @property
    def is_behind(self) -> bool:
        """Say whether what there was at first is still being read."""
        return self._overview is not None

    def _sampled(self) -> Progress | None:
        if self._events.behind <= LONG_BYTES:
            return None
        overview = Progress()
        overview.feed(sample(self.folder.events, PIECES, PIECE_BYTES))
        return overview

    @property
    def report(self) -> RunStatus:
        """Return state and progress together, as ``ftwizard status`` does."""
        return runs.report(self.folder, self.status, self.shown)

    @property
    def torn(self) -> int:
        """Return how many lines of the events could not be read."""
        return self._events.torn

    def look(self) -> None:
        """See what state the run is in."""
        try:
            self.is_gone = not self.folder.job.is_file()
            if not self.is_gone:
                self.status = observe(self.folder)
        except OSError:
            self.is_gone = True

    def read(self, budget_s: float) -> bool:
        """Read new events for about ``budget_s`` seconds; return whether there are more."""
        end = time.perf_counter() + budget_s
        while True:
            try:
                new = self._events.read(SLICE_BYTES)
            except OSError:
                return False
            self.progress.feed(new)
            if new:
                self.heard = time.monotonic()
            if not new:
                self._overview = None
                return False
            if time.perf_counter() >= end:
                return True

    def machine(self, samples: int | None = None) -> list[dict[str, Any]]:
        """Return the newest readings of the machine, oldest first, of the host that wrote last.

        All that are kept (``telemetry.KEPT``) without ``samples``. It reads only what is new.
        """
        files = sorted(self.folder.path.glob("machine.*.jsonl"), key=_changed)
        if not files:
            return []
        if self._telemetry is None or self._telemetry.path != files[-1]:
            self._telemetry = Telemetry(files[-1])
        self._telemetry.read()
        found = list(self._telemetry.samples)
        return found if samples is None else found[-samples:]

    def log(self, lines: int) -> list[str]:
        """Return the last lines of what the command and its libraries said.

        Of a bar that was drawn over itself, the last state that shows something.
        """
        text = _tail(self.folder.log, LOG_TAIL_BYTES).decode(errors="replace")
        drawn = (
            [state for state in line.split("\r") if state.strip()] for line in text.split("\n")
        )
        return [states[-1] for states in drawn if states][-lines:]


def _tail(path: Path, count: int) -> bytes:
    """Return the last ``count`` bytes: whole lines, or the end of a line that is longer.

    b"" where there is no file.
    """
    try:
        with path.open("rb") as file:
            start = max(0, os.fstat(file.fileno()).st_size - count)
            file.seek(start)
            data = file.read(count)
    except OSError:
        return b""
    return (data[data.find(b"\n") + 1 :] or data) if start else data


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
