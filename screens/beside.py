"""What only reads is done beside the loop, in threads that nobody waits for.

A file system that has gone away or a driver that hangs may keep such a thread for ever; the threads
of ``asyncio.to_thread`` are waited for when the loop ends, so these would keep the app from ending.
What writes stays with ``asyncio.to_thread``: it must not be broken off.
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
    """Return what ``work`` returns, or raise what it raises, without holding up the loop."""
    return await asyncio.wrap_future(_begun(work, *args, **kwargs))


def within(seconds: float, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what ``work`` returns; raises TimeoutError where it takes longer than ``seconds``.

    For the little that an answer to a key needs at once: the loop waits meanwhile.
    """
    return _begun(work, *args, **kwargs).result(seconds)


def _begun(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    future: Future[T] = Future()

    def run() -> None:
        # Who asked may have gone, and the loop with it.
        with contextlib.suppress(InvalidStateError, RuntimeError):
            try:
                result = work(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 (it is raised where it was asked for)
                future.set_exception(error)
            else:
                future.set_result(result)

    threading.Thread(target=run, daemon=True, name="beside").start()
    return future
