"""Clocks of real processes that a test moves while they run (``tests/doubles/clock.c``)."""

from __future__ import annotations

import os
import struct
from pathlib import Path

DAY = 86_400
FORWARD, BACK = 3 * DAY, -2 * 365 * DAY
"""Jumps of the date."""


class FakeClock:
    """Offsets of the clocks of all processes that start with ``environment``."""

    def __init__(self, library: Path, file: Path) -> None:
        self._file = file
        self._date_s = self._asleep_s = 0
        file.write_bytes(bytes(16))
        self.variables = {"LD_PRELOAD": str(library), "FAKE_CLOCK": str(file)}

    @property
    def environment(self) -> dict[str, str]:
        """Return this process's environment, for a process with these clocks."""
        return os.environ | self.variables

    def set_date(self, offset_s: int) -> None:
        """Move the date so many seconds from the true one."""
        self._date_s = offset_s
        self._write()

    def suspend(self, seconds: int) -> None:
        """Let all clocks but the monotonic one go on, as if the machine had been suspended."""
        self._date_s += seconds
        self._asleep_s += seconds
        self._write()

    def _write(self) -> None:
        with self._file.open("r+b") as file:
            file.write(struct.pack("=qq", self._date_s, self._asleep_s))
