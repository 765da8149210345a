"""Threads for calls that may hang: a driver, or a file system that has gone away.

Such a call can block its thread forever. The event loop waits for the threads of
``asyncio.to_thread`` when it ends, so these daemon threads keep the app free to leave. Use
``asyncio.to_thread`` for everything that writes: a write must not be abandoned.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, wait
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def run_in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of ``work``, or raise what it raises, without blocking the event loop."""
    import asyncio  # the keeper has no event loop, and should stay small

    return await asyncio.wrap_future(_start(work, *args, **kwargs))


def call_with_timeout(seconds: float, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of ``work``, or raise what it raises; block for at most ``seconds``.

    Raises TimeoutError after that; the thread is abandoned.
    """
    return _start(work, *args, **kwargs).result(seconds)


def run_watched(work: Callable[[], T], look: Callable[[], None], interval_s: float) -> T:
    """Return the result of ``work``, or raise what it raises; call ``look`` at the start and every
    ``interval_s`` seconds meanwhile, so that a stop takes effect at once."""
    future = _start(work)
    look()
    while wait([future], interval_s).not_done:
        look()
    return future.result()


def _start(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    future: Future[T] = Future()

    def run() -> None:
        # The caller may have left, and its event loop with it.
        with contextlib.suppress(InvalidStateError, RuntimeError):
            try:
                result = work(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 (raised again in the caller)
                future.set_exception(error)
            else:
                future.set_result(result)

    threading.Thread(target=run, daemon=True, name="background").start()
    return future
