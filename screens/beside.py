"""Daemon threads for work that only reads.

A lost file system or a hung driver may block such a thread forever. ``asyncio.to_thread`` waits for
its threads when the loop ends, so a blocked one would keep the app from exiting. Work that writes
stays with ``asyncio.to_thread``: it must not be interrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def beside(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``work`` in a thread without blocking the loop; return or raise what it does."""
    return await asyncio.wrap_future(_start(work, *args, **kwargs))


def within(seconds: float, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``work`` in a thread and wait for it; raise TimeoutError after ``seconds``.

    The loop is blocked meanwhile: use it only for what a key press needs at once.
    """
    return _start(work, *args, **kwargs).result(seconds)


def _start(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    future: Future[T] = Future()

    def run() -> None:
        # The caller may have gone, and the loop with it.
        with contextlib.suppress(InvalidStateError, RuntimeError):
            try:
                result = work(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 (raised again in the caller)
                future.set_exception(error)
            else:
                future.set_result(result)

    threading.Thread(target=run, daemon=True, name="beside").start()
    return future
