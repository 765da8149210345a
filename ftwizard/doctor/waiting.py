"""Questions that may never be answered: a hung driver, a file server that is gone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, ask: Callable[[], T]) -> T | None:
    """Return the answer, or None where there is none in time; raise what ``ask`` raises.

    A call that hangs in the kernel cannot be ended: its daemon thread is left behind.
    """
    answers: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(ask())
        except BaseException as error:  # noqa: BLE001 (told to who asked)
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True, name="doctor")
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    return answers[0] if answers else None
