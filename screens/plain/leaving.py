"""An orderly end of questions line by line: on HUP, TERM, and when the terminal just goes away."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import termios
import threading
import time
from collections.abc import Iterator
from typing import Any

LEAVE_WITHIN_S = 0.9
"""A write into a frozen terminal waits for ever: what has not left by then is ended."""
CHECK_EVERY_S = 0.5
SIGNALS = (signal.SIGHUP, signal.SIGTERM)


class HungUp(SystemExit):
    """The terminal has gone, or the process was told to end.

    A SystemExit: an event loop lets nothing else through.
    """


@contextlib.contextmanager
def orderly() -> Iterator[None]:
    """Raise HungUp in the caller on HUP, TERM and a dead terminal; then end within a second."""
    at_first = termios.tcgetattr(sys.stdin.fileno())
    is_over = threading.Event()

    def leave(number: int, frame: Any) -> None:
        for again in SIGNALS:
            signal.signal(again, signal.SIG_IGN)
        code = 128 + number
        threading.Thread(target=_end_later, args=(at_first, code), daemon=True).start()
        raise HungUp(code)

    before = {number: signal.signal(number, leave) for number in SIGNALS}
    threading.Thread(target=_watch, args=(is_over,), daemon=True).start()
    try:
        yield
    finally:
        is_over.set()
        if signal.getsignal(signal.SIGHUP) is leave:
            for number, handler in before.items():
                signal.signal(number, handler)


def _watch(is_over: threading.Event) -> None:
    """Hang up where nobody else does: reading from a terminal that is gone may never end."""
    while not is_over.wait(CHECK_EVERY_S):
        try:
            termios.tcgetattr(sys.stdin.fileno())
        except (termios.error, OSError, ValueError):
            os.kill(os.getpid(), signal.SIGHUP)
            return


def _end_later(at_first: list[Any], code: int) -> None:
    time.sleep(LEAVE_WITHIN_S)
    with contextlib.suppress(Exception):
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, at_first)
    with contextlib.suppress(Exception):
        os.set_blocking(2, False)
        os.write(2, b"\x1b[?25h\x1b[?2004l")
    os._exit(code)
