"""What the monitor sends to its terminal, in bytes a second at 120x36.

Limit: 2 kB/s for a run that says nothing new. Beside it a run of 5 steps a second with its
readings, for which wandb's terminal view sends about 1.0 kB/s (measured at the same size).
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


def measure(name: str, rate: float) -> None:
    """Watch a run for a while, and say what was sent."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["FTWIZARD_HOME"] = home
        with lively(Path(home), rate), Terminal("watch", "live", columns=120, rows=36) as terminal:
            terminal.wait("train")
            _read_for(terminal, SETTLE_S)
            before = len(terminal.output)
            _read_for(terminal, WATCHED_S)
            sent = (len(terminal.output) - before) / WATCHED_S
    print(f"{name:<16} {sent:6.0f} B/s: {sent / LIMIT:.0%} of the limit of {LIMIT} B/s")


def _read_for(terminal: Terminal, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        terminal.pump(left)


def main() -> None:
    measure("nothing new", 0)
    measure("5 steps a second", 5)


if __name__ == "__main__":
    main()
