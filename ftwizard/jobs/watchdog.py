"""A thread that says when a command has hung, and where."""

from __future__ import annotations

import sys
import threading
import time
import traceback

from ftwizard.jobs.events import EventWriter
from ftwizard.text import duration

SILENT_S = 600.0
"""Without a word for so long a command hangs: a big model is read from a slow disk in less."""
TIMES_LONGEST = 5.0
"""A command that was silent for long before, and went on, is given this many times as long."""
FRAMES = 5


class Watchdog:
    """Watches one command's events from a thread of its own, while its main thread works.

    A call into C that never gives the interpreter back hangs this thread too: then a view that
    sees nothing new says so by itself.
    """

    def __init__(self, events: EventWriter, silent_s: float = SILENT_S) -> None:
        self._events = events
        self._least = silent_s
        self._longest = 0.0
        self._main = threading.main_thread().ident
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watchdog")
        self._thread.start()

    def close(self) -> None:
        """Watch no more."""
        self._closed.set()
        self._thread.join(timeout=5)

    def _watch(self) -> None:
        known = began = self._events.written_at
        stalled = False
        while not self._closed.wait(min(1.0, self._least / 4)):
            last = self._events.written_at
            if last != known:
                self._longest = max(self._longest, last - began)
                if stalled:
                    self._say_it_goes_on(last - began)
                known = began = self._events.written_at
                stalled = False
            silent = time.monotonic() - known
            if not stalled and silent > max(self._least, TIMES_LONGEST * self._longest):
                self._say(silent)
                known, stalled = self._events.written_at, True

    def _say(self, silent: float) -> None:
        where = self._where()
        self._events.write(
            "finding",
            code="stalled",
            severity="warning",
            message=f"Nothing has happened for {duration(silent)}"
            + (f"; it is in {where[0]}." if where else "."),
            action="Look at its output; where it hangs for good, stop it and resume.",
            actions=["stop"],
            evidence={"silent_s": round(silent, 1)},
            stack=where,
        )

    def _say_it_goes_on(self, silent: float) -> None:
        self._events.write(
            "finding",
            code="goes_on",
            severity="info",
            message=f"It goes on, after {duration(silent)} without a word.",
        )

    def _where(self) -> list[str]:
        """Return where the main thread is, the innermost call first."""
        frame = sys._current_frames().get(self._main or 0)
        if frame is None:
            return []
        calls = traceback.extract_stack(frame)[-FRAMES:]
        return [f"{one.name} ({one.filename}:{one.lineno})" for one in reversed(calls)]
