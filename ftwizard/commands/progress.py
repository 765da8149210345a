"""What a command does while a screen waits for it: phase events in a file that the screen names."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ftwizard import words
from ftwizard.commands import output
from ftwizard.jobs.events import PROGRESS_FILE, EventWriter
from ftwizard.runs import Progress

if TYPE_CHECKING:
    from rich.status import Status

EVERY_S = 0.25


class Say:
    """``say(phase, what=…, done=…, total=…, unit=…)``; this one does nothing."""

    def __call__(self, phase: str, **fields: Any) -> None:
        """Say what is done."""

    def show(self, document: Any) -> None:
        """Show what is known by now of what the command will answer."""


@contextlib.contextmanager
def reporter(*, shown: bool = False) -> Iterator[Say]:
    """Yield who listens.

    A word that only moves ``done`` is written a few times a second at most. Where no screen
    listens, ``shown`` shows a person at the terminal the newest word until it is done.
    """
    name = os.environ.get(PROGRESS_FILE)
    if not name:
        shows = shown and sys.stderr.isatty()
        with _line() if shows else contextlib.nullcontext(Say()) as line:
            yield line
        return
    events = EventWriter(Path(name), 1)
    try:
        yield _Events(events)
    finally:
        events.close()


class _Events(Say):
    """Writes events for a screen."""

    def __init__(self, events: EventWriter) -> None:
        self._events = events
        self._key: tuple[str, Any] | None = None
        self._at = 0.0

    def __call__(self, phase: str, **fields: Any) -> None:
        key, now = (phase, fields.get("what")), time.monotonic()
        if key == self._key and now - self._at < EVERY_S:
            return
        self._key, self._at = key, now
        self._events.write("phase", phase=phase, **fields)

    def show(self, document: Any) -> None:
        self._events.write("report", report=msgspec.to_builtins(document))


class _Line(Say):
    """Shows the newest word on a line of the terminal."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._progress = Progress()

    def __call__(self, phase: str, **fields: Any) -> None:
        from rich.text import Text

        self._progress.feed([{"kind": "phase", "t": time.time(), "phase": phase, **fields}])
        doing = words.doing(self._progress)
        self._status.update(Text(doing, no_wrap=True, overflow="ellipsis"))


@contextlib.contextmanager
def _line() -> Iterator[Say]:
    """Show what is said on one line, which is gone at the end."""
    with output.console(stderr=True).status("") as status:
        yield _Line(status)
