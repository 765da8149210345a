"""A watchdog thread that reports when and where a command hangs."""

from __future__ import annotations

import sys
import threading
import time
import traceback

from ftwizard.jobs.events import EventWriter
from ftwizard.text import format_duration

SILENT_S = 600.0
"""Silence after which a command counts as stalled; loading a big model from a slow disk takes less."""
TIMES_LONGEST = 5.0
"""Multiple of the longest silence so far that a command may stay silent."""
FRAMES = 5


class Watchdog:
    """Watches a command's events in a separate thread.

    A call into C that never releases the interpreter lock stops this thread too. Views then report
    by themselves that nothing new arrives.
    """

    def __init__(self, events: EventWriter, silent_s: float = SILENT_S) -> None:
        self._events = events
        self._silent_s = silent_s
        self._longest = 0.0
        self._main = threading.main_thread().ident
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watchdog")
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()
        self._thread.join(timeout=5)

    def _watch(self) -> None:
        previous = since = self._events.written_at
        stalled = False
        while not self._closed.wait(min(1.0, self._silent_s / 4)):
            last = self._events.written_at
            if last != previous:
                self._longest = max(self._longest, last - since)
                if stalled:
                    self._report_recovery(last - since)
                previous = since = self._events.written_at
                stalled = False
            silent = time.monotonic() - previous
            if not stalled and silent > max(self._silent_s, TIMES_LONGEST * self._longest):
                self._report_stall(silent)
                previous, stalled = self._events.written_at, True

    def _report_stall(self, silent: float) -> None:
        stack = self._get_stack()
        self._events.write(
            "finding",
            code="stalled",
            severity="warning",
            message=f"Stalled: no progress for {format_duration(silent)}"
            + (f", in {stack[0]}." if stack else "."),
            action="Check its output. If it hangs for good, stop it and resume.",
            actions=["stop"],
            evidence={"silent_s": round(silent, 1)},
            stack=stack,
        )

    def _report_recovery(self, silent: float) -> None:
        self._events.write(
            "finding",
            code="goes_on",
            severity="info",
            message=f"Running again, after {format_duration(silent)} without progress.",
        )

    def _get_stack(self) -> list[str]:
        """Return the stack of the main thread, the innermost call first."""
        frame = sys._current_frames().get(self._main or 0)
        if frame is None:
            return []
        calls = traceback.extract_stack(frame)[-FRAMES:]
        return [f"{call.name} ({call.filename}:{call.lineno})" for call in reversed(calls)]
