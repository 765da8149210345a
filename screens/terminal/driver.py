"""Terminal driver: sanitized output, and clean exit when the terminal is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TextIO

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual import events
from textual.drivers.linux_driver import LinuxDriver
from textual.filter import LineFilter

from ftwizard.errors import FtwizardError
from ftwizard.screens.terminal.backpressure import QUERY_COLUMNS, TerminalLink
from ftwizard.screens.terminal.glyphs import make_printable
from ftwizard.text import make_lines_visible

if TYPE_CHECKING:
    from rich.style import Style
    from textual.app import App
    from textual.color import Color
    from textual.message import Message

    from ftwizard.runs.notifications import Notification

ANSWER_TIMEOUT_S = 2.0
"""Wait for the last answer before the terminal is handed back."""
SIGNAL_ANSWER_TIMEOUT_S = 0.4
"""The same after a signal."""
EXIT_TIMEOUT_S = 0.9
"""Time to exit after HUP or TERM before the process is ended."""
_RESTORE = b"\x1b[?2004l\x1b[?7h\x1b[<u\x1b[?1049l\x1b[?25h\x1b[?1004l"
"""The sequence that Textual's driver sends on exit."""
_WAKE = signal.SIGUSR1
"""Interrupts a blocked write."""
_WAKE_S = 0.05
_signal_received = threading.Event()
"""Set once a signal has asked the app to exit."""
_exit_lock = threading.RLock()
"""Held by the exit path that finishes: only one may change the terminal settings."""


class OutputSanitizer(LineFilter):
    """The last filter before the terminal: removes all control characters.

    With ``ascii``, each other glyph is replaced by one of the same width. Without ``color``, all
    colors are removed, including gray; bold and reverse stay.
    """

    def __init__(self, *, ascii: bool, color: bool = True) -> None:
        super().__init__()
        self._ascii = ascii
        self._color = color

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        if not self._color:
            segments = [
                Segment(text, _without_color(style), control) for text, style, control in segments
            ]
        return [self._sanitize(segment) for segment in segments]

    def _sanitize(self, segment: Segment) -> Segment:
        text, style, control = segment
        if control or (text.isprintable() and (text.isascii() or not self._ascii)):
            return segment
        printable = make_printable(text, self._ascii)
        # Joined emoji are wider when separated.
        width = segment.cell_length
        if cell_len(printable) != width:
            printable = set_cell_size(printable, width)
        return Segment(printable, style)


@lru_cache(4096)
def _without_color(style: Style | None) -> Style | None:
    return style and style.without_color


def _open_without_waiting(file: int) -> int:
    """Return a descriptor of the same terminal whose reads never wait; ``file`` if it has no path.

    A read that waits for a key would keep the app from drawing after ``fg``. The file is opened anew,
    since the shell shares the settings of the first one.
    """
    with contextlib.suppress(OSError):
        return os.open(os.ttyname(file), os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    return file


def forget_exported_size() -> None:
    """Drop exported COLUMNS and LINES, which may be outdated, if the terminal reports its size."""
    with contextlib.suppress(OSError):
        if all(os.get_terminal_size(1)):
            for name in ("COLUMNS", "LINES"):
                os.environ.pop(name, None)


def has_shell() -> bool:
    """Return whether a shell with job control started the app, in its own process group."""
    return os.getpgrp() != os.getsid(0)


class DisconnectSafeStream:
    """The output file; once the terminal is gone, writes do nothing."""

    def __init__(self, file: TextIO, on_written: Callable[[int], None]) -> None:
        """``on_written`` receives the number of bytes that the system has accepted."""
        self._file = file
        self._on_written = on_written
        self._rest = bytearray()
        """Encoded text that is not written yet."""
        self._unreported_bytes = 0
        self.is_gone = False

    def write(self, text: str) -> int:
        self._unreported_bytes += len(text.encode())
        self._rest += text.encode(self._file.encoding, "backslashreplace")
        return len(text)

    def flush(self) -> None:
        """Write the rest; not through the file, which drops what a stop (SIGSTOP) leaves of a write
        if PYTHONUNBUFFERED is set."""
        while self._rest and not self.is_gone:
            try:
                del self._rest[: os.write(self.fileno(), self._rest)]
            except (OSError, ValueError):
                self.is_gone = True
        self._on_written(self._unreported_bytes)
        self._unreported_bytes = 0

    def fileno(self) -> int:
        return self._file.fileno()

    def isatty(self) -> bool:
        return True


class TerminalDriver(LinuxDriver):
    """Textual's driver, made robust against a lost or slow terminal.

    Textual's writer thread dies with the first failed write; then the queue fills and the event loop
    blocks forever. Its input thread turns a hang-up into a traceback. It also treats every CONT as
    the end of ctrl+z: after any other, it reads keys twice and saves the app's own terminal settings
    as the original ones. A query after each frame reports when the terminal has received it.
    """

    def __init__(self, app: App[Any], **settings: Any) -> None:
        super().__init__(app, **settings)
        self.link = TerminalLink()
        self.on_room: Callable[[], None] = lambda: None
        """Called in the loop when the terminal has received more."""
        self._file: Any = DisconnectSafeStream(self._file, self._record_written)
        self._sends_queries = False
        self.fileno = _open_without_waiting(self.fileno)

    def start_application_mode(self) -> None:
        leave_on_signals(self._app)  # before the first change to the terminal
        self.link.begin()
        self._sends_queries = True  # from the first byte, to know the latency early
        super().start_application_mode()  # type: ignore[no-untyped-call]
        if self._writer_thread is not None:
            # Never block the loop; frames are held back instead.
            self._writer_thread._queue.maxsize = 0

    def disable_input(self) -> None:
        """Wait for the last answer: the shell would read it as typed text."""
        if self._sends_queries:
            self._sends_queries = False
            after_signal = _signal_received.is_set()
            timeout_s = SIGNAL_ANSWER_TIMEOUT_S if after_signal else ANSWER_TIMEOUT_S
            end = time.monotonic() + timeout_s
            while self.link.is_awaited and not self.is_gone and time.monotonic() < end:
                time.sleep(0.005)
        super().disable_input()

    def close(self) -> None:
        super().close()
        if self._app._exit:
            _exit_lock.acquire()  # wait for the other exit path if it has started

    def write(self, data: str) -> None:
        self.link.sent(len(data.encode()))
        super().write(data)

    def flush(self) -> None:
        """End a frame."""
        super().flush()
        if self._sends_queries:
            super().write(self.link.ask(time.monotonic()))

    def process_message(self, message: Message) -> None:
        if isinstance(message, events.CursorPosition):
            is_distinct = self._app.size.width >= QUERY_COLUMNS
            self.link.answered(time.monotonic(), message.x if is_distinct else None)
            self._notify_room()
        else:
            super().process_message(message)

    def _record_written(self, size: int) -> None:
        self.link.written(size, time.monotonic())
        self._notify_room()

    def _notify_room(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self.on_room)

    def _sigcont_application(self, *signalled: Any) -> None:
        self.link.begin()  # the delay was not caused by the connection
        if self._must_signal_resume:  # stopped by ctrl+z, with the terminal restored
            super()._sigcont_application(*signalled)
        elif (loop := self._app._loop) is not None:
            loop.call_soon_threadsafe(self._restart)

    def _restart(self) -> None:
        """Redraw everything: after a SIGSTOP a shell may have used the terminal."""
        if self._auto_restart and not self._app._exit:
            self.suspend_application_mode()
            self._must_signal_resume = True  # makes the app redraw everything
            self.resume_application_mode()

    def _run_input_thread(self) -> None:
        try:
            while True:
                try:
                    return self.run_input_thread()
                except BlockingIOError:  # while the app was stopped, the shell read the input
                    pass
        except OSError:
            self._app.call_later(self._app.exit)

    @property
    def is_gone(self) -> bool:
        """Whether the terminal was closed, hung up or no longer accepts output."""
        try:
            termios.tcgetattr(self.fileno)
        except termios.error:
            return True
        return bool(self._file.is_gone)

    def restore_blocked_terminal(self) -> None:
        """Restore a terminal that takes no output; pending output is discarded."""
        if self.attrs_before is not None:
            termios.tcsetattr(self.fileno, termios.TCSANOW, self.attrs_before)
        was_blocking = os.get_blocking(2)
        os.set_blocking(2, False)
        try:
            if (writer := self._writer_thread) is not None and writer.ident is not None:
                signal.pthread_kill(writer.ident, _WAKE)  # ends its write, and starts no other
                writer.join(_WAKE_S)
            termios.tcflush(2, termios.TCIOFLUSH)  # the shell would read an answer as typed text
            os.write(2, _RESTORE)
        finally:
            os.set_blocking(2, was_blocking)  # the shell shares the open file


def send_notifications(app: App[Any], notices: list[Notification]) -> None:
    """Ring the bell and send a desktop notification, unless the user's settings disable it."""
    if not notices or app.is_headless or app._driver is None:
        return
    from ftwizard import config  # slow to import
    from ftwizard.runs.notifications import format_sequences

    with contextlib.suppress(FtwizardError):
        if not config.load().notify.terminal:
            return
    app._driver.write(format_sequences(notices, os.environ))
    app._driver.flush()


def print_farewell(lines: list[str]) -> None:
    """Print lines on the terminal, if it is still there."""
    try:
        for line in lines:
            print(make_lines_visible(line))
        sys.stdout.flush()
    except OSError:
        # Python would try to flush the rest again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def leave_on_signals(app: App[Any]) -> None:
    """Exit on HUP and TERM, within a second even if the terminal accepts no output.

    With blocked output, the loop waits inside a write and would never run a handler. So this uses a
    Python signal handler, and a thread that ends the process after a timeout.
    """

    def handle_signal(number: int, frame: Any) -> None:
        for exit_signal in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(exit_signal, signal.SIG_IGN)
        signal.signal(_WAKE, lambda *_: None)
        _signal_received.set()
        threading.Thread(target=_exit_after_timeout, args=(app,), daemon=True).start()
        if (loop := app._loop) is not None:
            loop.call_soon_threadsafe(app.exit)

    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, handle_signal)


def _exit_after_timeout(app: App[Any]) -> None:
    time.sleep(EXIT_TIMEOUT_S)
    driver = app._driver
    with contextlib.suppress(Exception):
        if isinstance(driver, TerminalDriver) and _exit_lock.acquire(blocking=False):
            driver.restore_blocked_terminal()
    os._exit(0)
