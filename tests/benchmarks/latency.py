"""Time from a key to its repaint, in the monitor of a run of 1,000 steps per second.

Limit: 60 ms for 95 of 100 keys. ``+`` zooms the chart, ``0`` resets the zoom. ``s`` opens a
question on another screen, which is reported separately. The time ends when the terminal shows
the result. The same keys in the monitor of an idle run show how much of the time the run causes.
"""

from __future__ import annotations

import os
import random
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.live import lively
from tests.e2e.terminal import Terminal

PRESSES = 60
LIMIT_MS = 60.0
SIZES = ((80, 24), (120, 40))
ORIGIN = r"(?m)^\s+0 .*step\s*$"
"""X axis of the whole run, from step 0."""
QUESTION = r"Stop this run\?"


def measure(rate: float, size: tuple[int, int]) -> None:
    """Press keys at irregular intervals, and print their response times."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["FTWIZARD_HOME"] = home
        columns, rows = size
        with (
            lively(Path(home), rate),
            Terminal("watch", "live", columns=columns, rows=rows) as terminal,
        ):
            terminal.wait(ORIGIN)
            repaints, questions = [], []
            for _ in range(PRESSES):
                repaints.append(press(terminal, "+", lambda: not _shows(terminal, ORIGIN)))
                repaints.append(press(terminal, "0", lambda: _shows(terminal, ORIGIN)))
                questions.append(press(terminal, "s", lambda: _shows(terminal, QUESTION)))
                terminal.send("\x1b")
                terminal.until(lambda: not _shows(terminal, QUESTION), "no question is open")
    for name, times in (("repaint", repaints), ("question", questions)):
        times.sort()
        p95 = times[len(times) * 95 // 100]
        print(
            f"{columns}x{rows} {rate:>5g} steps/s  {name:<9} median {statistics.median(times):.0f} "
            f"ms, p95 {p95:.0f} ms, longest {times[-1]:.0f} ms: {p95 / LIMIT_MS:.0%} of the limit"
        )


def press(terminal: Terminal, key: str, answered: Callable[[], bool]) -> float:
    """Press a key after a random pause; return the milliseconds until the screen answers."""
    end = time.perf_counter() + random.uniform(0.08, 0.3)
    while (left := end - time.perf_counter()) > 0:
        terminal.pump(left)
    assert not answered(), terminal.screen.text()
    began = time.perf_counter()
    terminal.send(key)
    while not answered():
        assert time.perf_counter() < began + 20, terminal.screen.text()
        terminal.pump(0.02)
    return (time.perf_counter() - began) * 1e3


def _shows(terminal: Terminal, pattern: str) -> bool:
    return re.search(pattern, terminal.screen.text()) is not None


def main() -> None:
    for size in SIZES:
        for rate in (0, 1000):
            measure(rate, size)


if __name__ == "__main__":
    main()
