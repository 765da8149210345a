"""Raw pseudo-terminal that records every byte a program sends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.e2e.cli import FTWIZARD
from tests.e2e.screen import Screen
from tests.helpers.jobs import BUSY

PATIENCE_S = 90.0
"""Default timeout on an idle machine."""


SLICE_S = 0.02
"""Read interval on a slow connection."""


class Terminal:
    """A terminal that runs ``ftwizard ARGV…``. It reads output only while a method waits.
    Between calls it is frozen, like a stalled connection.
    """

    def __init__(
        self,
        *argv: object,
        columns: int = 80,
        rows: int = 24,
        environment: Mapping[str, str | None] | None = None,
        controlling: bool = True,
        command: Sequence[object] = (FTWIZARD,),
        cwd: object = None,
        bytes_per_s: float | None = None,
    ) -> None:
        """``environment``: None removes a variable. Without ``controlling``, the kernel sends no
        SIGHUP when this terminal closes. A size of 0 means unknown. ``bytes_per_s`` limits
        reading; cursor queries are answered once they are read."""
        self.screen = Screen(columns or 80, rows or 24)
        self.output = bytearray()
        self.bytes_per_s = bytes_per_s
        self._answered = 0
        self._master, self._slave = os.openpty()
        self.before = termios.tcgetattr(self._master)
        self._size(columns, rows)

        self.child = subprocess.Popen(
            [str(part) for part in (*command, *argv)],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env=(variables := _environment(environment or {})),
            start_new_session=True,
            preexec_fn=_take_control if controlling else _restore_ctrl_c,  # noqa: PLW1509 (no other thread here)
            cwd=str(cwd or "."),
        )
        os.set_blocking(self._master, False)
        self._crashes = Path(variables.get("FTWIZARD_HOME", "")) / "crashes"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        os.close(self._slave)
        if self.child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()

    def close(self) -> None:
        """Close the terminal."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def resize(self, columns: int, rows: int) -> None:
        """Resize the window after reading all output for the old size."""
        while self.pump(0.02):
            pass
        self._size(columns, rows)
        self.screen.resize(columns, rows)

    def resize_unread(self, columns: int, rows: int) -> None:
        """Resize the window without reading the output for the old size."""
        self._size(columns, rows)

    def send(self, data: bytes | str, timeout: float = PATIENCE_S) -> None:
        """Type ``data``, which may exceed the terminal's buffer."""
        rest = memoryview(data.encode() if isinstance(data, str) else data)
        end = time.monotonic() + BUSY * timeout
        while rest:
            assert time.monotonic() < end, "the program reads no input"
            readable, writable, _ = select.select([self._master], [self._master], [], 0.1)
            if readable:
                self.pump(0)
            if writable:
                with contextlib.suppress(BlockingIOError):
                    rest = rest[os.write(self._master, rest[:1024]) :]

    def pump(self, seconds: float) -> bool:
        """Read output for up to ``seconds``; return whether any arrived."""
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, self._at_once())
        except OSError:  # the last process has closed it
            return False
        self.output += data
        self.screen.feed(data)
        while self.bytes_per_s is not None and self._answered < len(self.screen.questions):
            row, column = self.screen.questions[self._answered]
            self._answered += 1
            os.write(self._master, f"\x1b[{row};{column}R".encode())
        return bool(data)

    def _at_once(self) -> int:
        """Return how many bytes to read, after waiting as long as they take."""
        if self.bytes_per_s is None:
            return 1 << 16
        time.sleep(SLICE_S)
        return int(self.bytes_per_s * SLICE_S)

    def until(
        self, condition: Callable[[], object], description: str, timeout: float = PATIENCE_S
    ) -> None:
        """Read until ``condition`` holds."""
        end = time.monotonic() + BUSY * timeout
        while not condition():
            assert time.monotonic() < end, (
                f"not within {timeout} s: {description}\n{self.screen.text()}"
                + "".join(report.read_text() for report in self._crashes.glob("*.txt"))
            )
            if not self.pump(0.05):
                time.sleep(0.01)

    def wait(self, pattern: str, timeout: float = PATIENCE_S) -> str:
        """Wait until ``pattern`` is on the screen and return the screen."""
        self.until(lambda: re.search(pattern, self.screen.text()), repr(pattern), timeout)
        return self.screen.text()

    def settle(self, quiet_s: float = 0.4) -> str:
        """Wait until no output arrives for ``quiet_s`` and return the screen."""
        end = time.monotonic() + BUSY * PATIENCE_S
        while self.pump(quiet_s):
            assert time.monotonic() < end, "the output never stops"
        return self.screen.text()

    def waiting(self) -> int:
        """Return the number of bytes sent but not read."""
        count = fcntl.ioctl(self._master, termios.FIONREAD, b"\0" * 4)
        return int(struct.unpack("i", count)[0])

    def exit_code(self, timeout: float = PATIENCE_S, *, reads: bool = True) -> int:
        """Wait for the program to exit and read its last output (none without ``reads``)."""
        end = time.monotonic() + BUSY * timeout
        while self.child.poll() is None:
            assert time.monotonic() < end, f"still running after {timeout} s\n{self.screen.text()}"
            if not (reads and self._master >= 0 and self.pump(0.02)):
                time.sleep(0.02)
        while reads and self._master >= 0 and self.pump(0.1):
            pass
        assert self.child.returncode is not None
        return self.child.returncode

    def is_restored(self) -> bool:
        """Return whether the terminal settings are the same as before the program."""
        # The shell shares the program's open file, and with it the blocking mode.
        return termios.tcgetattr(self._master) == self.before and os.get_blocking(self._slave)

    def _size(self, columns: int, rows: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)


def _take_control() -> None:
    """Make this the controlling terminal of the new session."""
    _restore_ctrl_c()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _restore_ctrl_c() -> None:
    """Let ctrl+c work where the tests run as a background job, which ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    base = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **changes}
    for name in ("COLUMNS", "LINES", "COLORTERM", "NO_COLOR", "TMUX"):
        if name not in changes:
            base.pop(name, None)
    return {name: value for name, value in base.items() if value is not None}
