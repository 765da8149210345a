"""The pace of a job's command: how long it may be silent, and how long a stop may take.

The command knows how long its steps, evaluations and saves take. It writes so here whenever that
exceeds what is assumed, so that the keeper and every view know it without reading its events.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Literal

import msgspec

from ftwizard.jobs.folder import JobFolder, read_json, write_json

SILENT_S = 600.0
"""Silence after which a command counts as stalled; loading a big model from a slow disk takes less."""
TIMES_LONGEST = 5.0
"""Multiple of the longest silence so far that a command may stay silent."""
GRACE_S = 30.0
"""Time for a stop to finish the step and save, if the command expects no more."""
TERM_GRACE_S = 10.0
"""Time between SIGTERM and SIGKILL."""
MAX_GRACE_S = 4 * 3600.0
"""Upper limit of the time for a stop, whatever the command expects."""
Part = Literal["step", "evaluation", "save"]
_TIMES: dict[Part, float] = {"step": 2.0, "evaluation": 2.0, "save": 3.0}
"""How much longer than ever before each part of a stop may take."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """``pace.json``: what the command of an attempt expects of itself."""

    attempt: int
    stop_s: float = GRACE_S
    """Seconds within which a requested stop has saved."""
    silent_s: float = SILENT_S
    """Seconds without an event after which the command counts as stalled."""


def read_pace(folder: JobFolder, attempt: int) -> Pace:
    """Return the pace of an attempt; the default if its command expects no more than that."""
    pace = read_json(folder.pace, Pace)
    if pace is None or pace.attempt != attempt:
        return Pace(attempt=attempt)
    stop_s = min(max(0.0, pace.stop_s), MAX_GRACE_S)
    return msgspec.structs.replace(pace, stop_s=stop_s, silent_s=max(0.0, pace.silent_s))


class PaceWriter:
    """Writes the pace of a running command; safe to call from several threads."""

    def __init__(self, folder: JobFolder, attempt: int, silent_s: float = SILENT_S) -> None:
        self._folder = folder
        earlier = read_json(folder.pace, Pace)
        self._least_s = max(GRACE_S, earlier.stop_s) if earlier else GRACE_S
        self._pace = Pace(attempt=attempt)
        self._longest: dict[Part, float] = {}
        self._guard = threading.Lock()
        self._update(stop_s=self._least_s)
        self.allow_silence(silent_s)

    def expect(self, part: Part, seconds: float) -> None:
        """Record how long a part takes, or is estimated to: a stop waits for as much, and more."""
        if seconds > self._longest.get(part, 0.0):
            self._longest[part] = seconds
            needed_s = sum(_TIMES[name] * longest for name, longest in self._longest.items())
            self._update(stop_s=min(max(self._least_s, needed_s), MAX_GRACE_S))

    def allow_silence(self, seconds: float) -> None:
        """Record for how long the command may be silent."""
        self._update(silent_s=seconds)

    def _update(self, **changes: float) -> None:
        with self._guard:
            pace = msgspec.structs.replace(self._pace, **changes)
            if pace != self._pace:
                self._pace = pace
                # Without disk space the default applies; a step does not fail for this.
                with contextlib.suppress(OSError):
                    write_json(self._folder.pace, pace)


class NoPace(PaceWriter):
    """Takes what a process expects and writes none of it."""

    def _update(self, **changes: float) -> None:
        pass
