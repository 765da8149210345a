"""A raw pseudo-terminal for a program, with every byte that it sends."""

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
"""How long anything is waited for where the machine does nothing else."""


SLICE_S = 0.02
"""Of a slow line: what arrives in it is read at once."""


class Terminal:
    """A terminal with ``ftwizard ARGV…`` in it. It reads what the program sends only while a
    method waits: between the calls it is frozen, as at the end of a line that has gone silent.
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
        """``environment``: None takes a variable away. Without ``controlling`` the kernel sends
        no HUP when this terminal goes. A size of 0 is one that the line does not know. With
        ``bytes_per_s`` it reads no more, and answers questions when it has read them."""
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
        """Take the terminal away."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def resize(self, columns: int, rows: int) -> None:
        """Give the window another size; whatever was sent for the old one is read first."""
        while self.pump(0.02):
            pass
        self._size(columns, rows)
        self.screen.resize(columns, rows)

    def resize_unread(self, columns: int, rows: int) -> None:
        """Give the window another size without reading what was sent for the old one."""
        self._size(columns, rows)

    def send(self, data: bytes | str, timeout: float = PATIENCE_S) -> None:
        """Type; also more than the line holds at once."""
        rest = memoryview(data.encode() if isinstance(data, str) else data)
        end = time.monotonic() + BUSY * timeout
        while rest:
            assert time.monotonic() < end, "it takes no input"
            readable, writable, _ = select.select([self._master], [self._master], [], 0.1)
            if readable:
                self.pump(0)
            if writable:
                with contextlib.suppress(BlockingIOError):
                    rest = rest[os.write(self._master, rest[:1024]) :]

    def pump(self, seconds: float) -> bool:
        """Read what arrives within so many seconds; return whether anything did."""
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, self._at_once())
        except OSError:  # the last process has let go of it
            return False
        self.output += data
        self.screen.feed(data)
        while self.bytes_per_s is not None and self._answered < len(self.screen.questions):
            row, column = self.screen.questions[self._answered]
            self._answered += 1
            os.write(self._master, f"\x1b[{row};{column}R".encode())
        return bool(data)

    def _at_once(self) -> int:
        """Return how many bytes may be read, after the time that they take."""
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
        """Wait until nothing is sent for a while and return the screen."""
        end = time.monotonic() + BUSY * PATIENCE_S
        while self.pump(quiet_s):
            assert time.monotonic() < end, "it never stops drawing"
        return self.screen.text()

    def waiting(self) -> int:
        """Return how many bytes were sent and not read."""
        count = fcntl.ioctl(self._master, termios.FIONREAD, b"\0" * 4)
        return int(struct.unpack("i", count)[0])

    def exit_code(self, timeout: float = PATIENCE_S, *, reads: bool = True) -> int:
        """Wait until it has left, and read its last words (or nothing, as a frozen terminal)."""
        end = time.monotonic() + BUSY * timeout
        while self.child.poll() is None:
            assert time.monotonic() < end, f"still there after {timeout} s\n{self.screen.text()}"
            if not (reads and self._master >= 0 and self.pump(0.02)):
                time.sleep(0.02)
        while reads and self._master >= 0 and self.pump(0.1):
            pass
        assert self.child.returncode is not None
        return self.child.returncode

    def is_as_before(self) -> bool:
        """Say whether the line's settings are those from before the program."""
        # The shell shares the program's open file, and with it whether writes wait.
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
