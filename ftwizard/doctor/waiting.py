"""Calls with a timeout, for a hung driver or an unreachable file server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def call_with_timeout(seconds: float, call: Callable[[], T]) -> T | None:
    """Return the result of ``call``, or None after ``seconds``; raise what it raises.

    A call that hangs in the kernel cannot be ended: its daemon thread stays behind.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001 (raised in the caller)
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True, name="doctor")
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    return results[0] if results else None
