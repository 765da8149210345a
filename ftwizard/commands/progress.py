"""What a command does while a screen waits for it: phase events in a file that the screen names."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ftwizard.jobs.events import EventWriter

FILE = "FTWIZARD_PROGRESS"
EVERY_S = 0.25
Say = Callable[..., None]


@contextlib.contextmanager
def reporter() -> Iterator[Say]:
    """Yield ``say(phase, what=…, done=…, total=…, unit=…)``; without a listener it does nothing.

    A word that only moves ``done`` is written a few times a second at most.
    """
    name = os.environ.get(FILE)
    if not name:
        yield lambda phase, **fields: None
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
