"""Progress of a command: phase events for the screen that waits for it, or a line of text."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ftwizard.cli import output
from ftwizard.jobs import clock
from ftwizard.jobs.events import PROGRESS_FILE, EventWriter
from ftwizard.runs import describe
from ftwizard.runs.progress import Progress

if TYPE_CHECKING:
    from rich.text import Text

MIN_INTERVAL_S = 0.25
"""Between events of one phase."""
LINE_INTERVAL_S = 30.0
"""Between lines where there is no terminal; what takes less prints none."""


class Say:
    """Progress callback ``say(phase, what=…, done=…, total=…, unit=…)``; the base does nothing."""

    def __call__(self, phase: str, **fields: Any) -> None:
        """Report progress."""

    def show(self, document: Any) -> None:
        """Show a partial result."""


@contextlib.contextmanager
def reporter() -> Iterator[Say]:
    """Yield the progress callback: for the screen that waits, or for a line of the terminal.

    Events that only advance ``done`` are limited to a few per second. The line is removed at the end.
    Where stderr is not a terminal, such as a log, a line is printed every 30 s.
    """
    if name := os.environ.get(PROGRESS_FILE):
        events = EventWriter(Path(name), 1)
        try:
            yield _Events(events)
        finally:
            events.close()
    elif sys.stderr.isatty():
        with output.make_console(stderr=True).status("") as status:
            line = _Line()
            status.update(line)
            yield line
    else:
        yield from _print_lines()


def _print_lines() -> Iterator[Say]:
    """Yield a callback whose newest event is printed every ``LINE_INTERVAL_S``."""
    line, has_ended = _Line(), threading.Event()

    def print_often() -> None:
        while not has_ended.wait(LINE_INTERVAL_S):
            print(line.describe(), file=sys.stderr, flush=True)

    printer = threading.Thread(target=print_often, daemon=True)
    printer.start()
    try:
        yield line
    finally:
        has_ended.set()
        printer.join()  # so that nothing is printed below the result


class _Events(Say):
    """Write events for a screen."""

    def __init__(self, events: EventWriter) -> None:
        self._events = events
        self._key: tuple[str, Any] | None = None
        self._at = 0.0

    def __call__(self, phase: str, **fields: Any) -> None:
        key, now = (phase, fields.get("what")), time.monotonic()
        if key == self._key and now - self._at < MIN_INTERVAL_S:
            return
        self._key, self._at = key, now
        self._events.write("phase", phase=phase, **fields)

    def show(self, document: Any) -> None:
        self._events.write("report", report=msgspec.to_builtins(document))


class _Line(Say):
    """Show the newest event, and for how long its phase lasts, on a line."""

    def __init__(self) -> None:
        self._progress = Progress()

    def __call__(self, phase: str, **fields: Any) -> None:
        self._progress.feed([{**clock.read()._asdict(), "kind": "phase", "phase": phase, **fields}])

    def describe(self) -> str:
        wait = describe.describe_wait(self._progress)
        return "  ".join(filter(None, (describe.describe_progress(self._progress), wait)))

    def __rich__(self) -> Text:
        from rich.text import Text

        return Text(self.describe(), no_wrap=True, overflow="ellipsis")
