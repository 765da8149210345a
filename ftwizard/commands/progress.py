"""What a command does while a screen waits for it: phase events in a file that the screen names."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ftwizard import words
from ftwizard.commands import output
from ftwizard.jobs.events import PROGRESS_FILE, EventWriter
from ftwizard.runs import Progress

EVERY_S = 0.25
Say = Callable[..., None]


@contextlib.contextmanager
def reporter(*, shown: bool = False) -> Iterator[Say]:
    """Yield ``say(phase, what=…, done=…, total=…, unit=…)``; without a listener it does nothing.

    A word that only moves ``done`` is written a few times a second at most. Where no screen
    listens, ``shown`` shows a person at the terminal the newest word until it is done.
    """
    name = os.environ.get(PROGRESS_FILE)
    if not name:
        shows = shown and sys.stderr.isatty()
        with _line() if shows else contextlib.nullcontext(_nothing) as line:
            yield line
        return
    events = EventWriter(Path(name), 1)
    said: dict[str, Any] = {"key": None, "at": 0.0}

    def say(phase: str, **fields: Any) -> None:
        key, now = (phase, fields.get("what")), time.monotonic()
        if key == said["key"] and now - said["at"] < EVERY_S:
            return
        said.update(key=key, at=now)
        events.write("phase", phase=phase, **fields)

    try:
        yield say
    finally:
        events.close()


def _nothing(phase: str, **fields: Any) -> None:
    return


@contextlib.contextmanager
def _line() -> Iterator[Say]:
    """Show what is said on one line, which is gone at the end."""
    from rich.text import Text

    progress = Progress()
    with output.console(stderr=True).status("") as status:

        def say(phase: str, **fields: Any) -> None:
            progress.feed([{"kind": "phase", "t": time.time(), "phase": phase, **fields}])
            status.update(Text(words.doing(progress), no_wrap=True, overflow="ellipsis"))

        yield say
