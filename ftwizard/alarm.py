"""An event that threads wait for by the monotonic clock."""

from __future__ import annotations

import os
import select
import weakref


class Alarm:
    """Like ``threading.Event``, whose waits follow the date in some builds of Python.

    Without ``sem_clockwait`` (glibc before 2.30), a wait that began before the date was set back by
    a year would last for that year.
    """

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        weakref.finalize(self, os.close, self._descriptor).atexit = False

    def set(self) -> None:
        """Let all waits return, now and later."""
        os.eventfd_write(self._descriptor, 1)

    def is_set(self) -> bool:
        return self.wait(0.0)

    def wait(self, seconds: float) -> bool:
        """Wait until it is set, for at most ``seconds``; return whether it is."""
        poll = select.poll()  # one poll object serves one thread at a time
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(1000 * seconds))
