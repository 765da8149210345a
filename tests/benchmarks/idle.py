"""Bytes per second that the monitor sends to its terminal.

Limit: 2 kB/s for a run without new events. Also measured: runs of 5, 10 and 1,000 steps per second,
and ``--slow``. At 5 steps per second, wandb's terminal view sends about 1.0 kB/s (at 120x36).
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from tests.benchmarks.live import lively
from tests.e2e.terminal import Terminal

SETTLE_S = 3.0
WATCHED_S = 30.0
LIMIT = 2000
SIZES = ((120, 36), (80, 24))
RATES = (0, 5, 10, 1000)


def measure(rate: float, size: tuple[int, int], *options: str) -> None:
    """Watch a run and print the bytes sent per second."""
    columns, rows = size
    with tempfile.TemporaryDirectory() as home:
        os.environ["FTWIZARD_HOME"] = home
        with (
            lively(Path(home), rate),
            Terminal("watch", "live", *options, columns=columns, rows=rows) as terminal,
        ):
            terminal.wait("train")
            _read_for(terminal, SETTLE_S)
            before = len(terminal.output)
            _read_for(terminal, WATCHED_S)
            sent = (len(terminal.output) - before) / WATCHED_S
    name = " ".join((f"{columns}x{rows} {rate:>5,} steps/s", *options))
    print(f"{name:<28} {sent:6.0f} B/s: {sent / LIMIT:.0%} of the limit of {LIMIT} B/s")


def _read_for(terminal: Terminal, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        terminal.pump(left)


def main() -> None:
    for size in SIZES:
        for rate in RATES:
            measure(rate, size)
        measure(RATES[-1], size, "--slow")


if __name__ == "__main__":
    main()
