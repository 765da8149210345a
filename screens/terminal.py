"""The terminal below the app: nothing hostile reaches it, and losing it never hangs the view."""

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
from typing import IO, TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual import events
from textual.drivers.linux_driver import LinuxDriver
from textual.filter import LineFilter

from ftwizard.errors import FtwizardError
from ftwizard.screens.glyphs import harmless
from ftwizard.screens.line import MARKS, Line
from ftwizard.text import visible_lines

if TYPE_CHECKING:
    from rich.style import Style
    from textual.app import App
    from textual.color import Color
    from textual.message import Message

    from ftwizard.notices import Notice

ANSWER_WITHIN_S = 2.0
"""So long the last answer is waited for before the line is given back."""
ANSWER_AT_ONCE_S = 0.4
"""And after a signal."""
LEAVE_WITHIN_S = 0.9
"""After a hang-up or TERM: an app that cannot leave by itself by then is ended."""
_RESTORE = b"\x1b[?2004l\x1b[?7h\x1b[<u\x1b[?1049l\x1b[?25h\x1b[?1004l"
"""What Textual's driver sends at its end."""
_WAKE = signal.SIGUSR1
"""Interrupts a write that waits for room in the line."""
_WAKE_S = 0.05
_ends_soon = threading.Event()
"""Set once a signal has told it to leave."""
_leaving = threading.RLock()
"""Held by the one way out that is gone to its end: the terminal's settings are changed by one."""


class Wall(LineFilter):
    """The last wall: whatever a widget drew, no control character leaves the app.

    With ``ascii`` nothing but ASCII does, each glyph replaced by one as wide; without ``colour``
    none does, not even grey: bold and reverse stay.
    """

    def __init__(self, *, ascii: bool, colour: bool = True) -> None:
        super().__init__()
        self._ascii = ascii
        self._colour = colour

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        if not self._colour:
            segments = [
                Segment(text, _without_colour(style), control) for text, style, control in segments
            ]
        if all(self._is_safe(text) or control for text, _, control in segments):
            return segments
        return [
            segment
            if segment.control or self._is_safe(segment.text)
            else Segment(self._harmless(segment), segment.style)
            for segment in segments
        ]

    def _harmless(self, segment: Segment) -> str:
        text = harmless(segment.text, self._ascii)
        # Emoji that are joined to one are wider each by itself.
        return (
            text
            if cell_len(text) == segment.cell_length
            else set_cell_size(text, segment.cell_length)
        )

    def _is_safe(self, text: str) -> bool:
        return text.isprintable() and (text.isascii() or not self._ascii)


@lru_cache(4096)
def _without_colour(style: Style | None) -> Style | None:
    return style and style.without_color


def forget_exported_size() -> None:
    """Have the terminal asked for its size: COLUMNS and LINES, where exported, are what it was."""
    with contextlib.suppress(OSError):
        if all(os.get_terminal_size(1)):
            for name in ("COLUMNS", "LINES"):
                os.environ.pop(name, None)


def has_shell() -> bool:
    """Say whether a shell with job control started the app: its jobs have groups of their own."""
    return os.getpgrp() != os.getsid(0)


class _Lasting:
    """The output file; once the terminal is gone, writing to it does nothing."""

    def __init__(self, file: IO[str], taken: Callable[[int], None]) -> None:
        """``taken`` is told how many bytes the system has taken."""
        self._file = file
        self._taken = taken
        self._buffered = 0
        self.gone = False

    def write(self, text: str) -> int:
        self._buffered += len(text.encode())
        if not self.gone:
            try:
                return self._file.write(text)
            except (OSError, ValueError):
                self.gone = True
        return len(text)

    def flush(self) -> None:
        if not self.gone:
            try:
                self._file.flush()
            except (OSError, ValueError):
                self.gone = True
        self._taken(self._buffered)
        self._buffered = 0

    def fileno(self) -> int:
        return self._file.fileno()

    def isatty(self) -> bool:
        return True


class Driver(LinuxDriver):
    """Textual's driver, but one that outlives its terminal long enough to leave in order.

    Its own writer thread dies with the first failed write, after which the queue fills and the
    event loop waits for ever; its own input thread turns a hang-up into a traceback. And it takes
    every CONT for the end of a ctrl+z: after any other it reads keys twice, and takes the terminal
    as the app has made it for how it was before. A question behind each frame says when the
    terminal has it.
    """

    def __init__(self, app: App[Any], **settings: Any) -> None:
        super().__init__(app, **settings)
        self.line = Line()
        self.on_room: Callable[[], None] = lambda: None
        """Called in the loop when more of what was sent has arrived."""
        self._file: Any = _Lasting(self._file, self._taken)
        self._asks = False

    def start_application_mode(self) -> None:
        leave_on_signals(self._app)  # from the first change to the terminal on
        self.line.begin()
        self._asks = True  # from the first byte on: how long an answer takes is known early
        super().start_application_mode()  # type: ignore[no-untyped-call]
        if self._writer_thread is not None:
            self._writer_thread._queue.maxsize = 0  # the loop never waits; frames are held back

    def disable_input(self) -> None:
        """Leave no answer behind that the shell would take for typed."""
        if self._asks:
            self._asks = False
            end = time.monotonic() + (ANSWER_AT_ONCE_S if _ends_soon.is_set() else ANSWER_WITHIN_S)
            while self.line.is_awaited and not self.is_gone and time.monotonic() < end:
                time.sleep(0.005)
        super().disable_input()

    def close(self) -> None:
        super().close()
        if self._app._exit:
            _leaving.acquire()  # where the other way out has begun, it is waited for

    def write(self, data: str) -> None:
        self.line.sent(len(data.encode()))
        super().write(data)

    def flush(self) -> None:
        """End a frame."""
        super().flush()
        if self._asks:
            super().write(self.line.ask(time.monotonic()))

    def process_message(self, message: Message) -> None:
        if isinstance(message, events.CursorPosition):
            apart = self._app.size.width >= MARKS
            self.line.answered(time.monotonic(), message.x if apart else None)
            self._say_room()
        else:
            super().process_message(message)

    def _taken(self, size: int) -> None:
        self.line.written(size, time.monotonic())
        self._say_room()

    def _say_room(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self.on_room)

    def _sigcont_application(self, *signalled: Any) -> None:
        self.line.begin()  # what took so long was not the line
        if self._must_signal_resume:  # it was told to stop, and left the terminal in order
            super()._sigcont_application(*signalled)
        elif (loop := self._app._loop) is not None:
            loop.call_soon_threadsafe(self._come_back)

    def _come_back(self) -> None:
        """Draw everything anew: after a SIGSTOP a shell may have had the terminal meanwhile."""
        if self._auto_restart and not self._app._exit:
            self.suspend_application_mode()
            self._must_signal_resume = True  # the app then draws everything
            self.resume_application_mode()

    def _run_input_thread(self) -> None:
        try:
            self.run_input_thread()
        except OSError:
            self._app.call_later(self._app.exit)

    @property
    def is_gone(self) -> bool:
        """Say whether the terminal has gone: closed, hung up, or failing to take output."""
        if self._file.gone:
            return True
        try:
            termios.tcgetattr(self.fileno)
        except termios.error:
            return True
        return False

    def leave_full_line(self) -> None:
        """Restore the terminal although its line is full: what waits there is thrown away."""
        if self.attrs_before is not None:
            termios.tcsetattr(self.fileno, termios.TCSANOW, self.attrs_before)
        was_blocking = os.get_blocking(2)
        os.set_blocking(2, False)
        try:
            if (writer := self._writer_thread) is not None and writer.ident is not None:
                signal.pthread_kill(writer.ident, _WAKE)  # its write ends, and no other begins
                writer.join(_WAKE_S)
            termios.tcflush(2, termios.TCIOFLUSH)  # an answer would be typed into the shell
            os.write(2, _RESTORE)
        finally:
            os.set_blocking(2, was_blocking)  # the shell has the same open file


def tell(app: App[Any], notices: list[Notice]) -> None:
    """Ring the bell, and ask the terminal for a notification, unless the user's settings say no."""
    if not notices or app.is_headless or app._driver is None:
        return
    from ftwizard import config_file  # not before the first frame
    from ftwizard.notices import sequences

    with contextlib.suppress(FtwizardError):
        if not config_file.load().notify.terminal:
            return
    app._driver.write(sequences(notices, os.environ))
    app._driver.flush()


def take_leave(lines: list[str]) -> None:
    """Leave lines on the terminal, if it is still there."""
    try:
        for line in lines:
            print(visible_lines(line))
        sys.stdout.flush()
    except OSError:
        # What was not written would be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def leave_on_signals(app: App[Any]) -> None:
    """Leave on HUP and TERM, and within a second even where the terminal takes no output.

    An app whose output is stuck (a frozen line) waits inside a write: a handler in the loop would
    never run. So the handler is Python's own, and a thread ends the process when grace has passed.
    """

    def leave(number: int, frame: Any) -> None:
        for again in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(again, signal.SIG_IGN)
        signal.signal(_WAKE, lambda *_: None)
        _ends_soon.set()
        threading.Thread(target=_end_later, args=(app,), daemon=True).start()
        if (loop := app._loop) is not None:
            loop.call_soon_threadsafe(app.exit)

    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, leave)


def _end_later(app: App[Any]) -> None:
    time.sleep(LEAVE_WITHIN_S)
    driver = app._driver
    with contextlib.suppress(Exception):
        if isinstance(driver, Driver) and _leaving.acquire(blocking=False):
            driver.leave_full_line()
    os._exit(0)
