"""Clean exit of plain mode on SIGHUP, SIGTERM and a lost terminal."""

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

MAX_EXIT_S = 0.9
"""A write to a frozen terminal blocks forever, so the process ends after this time."""
POLL_S = 0.5
SIGNALS = (signal.SIGHUP, signal.SIGTERM)


class TerminalHungUp(SystemExit):
    """The terminal is gone, or the process was asked to end.

    A SystemExit, because an event loop lets nothing else through.
    """


@contextlib.contextmanager
def exit_cleanly() -> Iterator[None]:
    """Raise HungUp in the caller on SIGHUP, SIGTERM and a dead terminal; end within a second."""
    at_first = termios.tcgetattr(sys.stdin.fileno())
    is_over = threading.Event()

    def leave(number: int, frame: Any) -> None:
        for again in SIGNALS:
            signal.signal(again, signal.SIG_IGN)
        code = 128 + number
        threading.Thread(target=_end_later, args=(at_first, code), daemon=True).start()
        raise TerminalHungUp(code)

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
    """Raise SIGHUP when the terminal is gone, as a blocked read may never return."""
    while not is_over.wait(POLL_S):
        try:
            termios.tcgetattr(sys.stdin.fileno())
        except (termios.error, OSError, ValueError):
            os.kill(os.getpid(), signal.SIGHUP)
            return


def _end_later(at_first: list[Any], code: int) -> None:
    time.sleep(MAX_EXIT_S)
    with contextlib.suppress(Exception):
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, at_first)
    with contextlib.suppress(Exception):
        os.set_blocking(2, False)
        os.write(2, b"\x1b[?25h\x1b[?2004l")
    os._exit(code)
