"""Time from exec to the first frame of home, compared with a minimal Textual app.

Limit: 1.5 times as long. Both run in pseudo-terminals of 120x40, in turn.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.cli import FTWIZARD
from tests.e2e.terminal import Terminal
from tests.screens.runs_helpers import make_run

RUNS = 25
LISTED = 20
LIMIT = 1.5
MINIMAL = """
from textual.app import App
from textual.widgets import Static
class Minimal(App):
    def compose(self):
        yield Static("hello there")
Minimal().run()
"""


def seconds(command: Sequence[object], words: bytes) -> float:
    """Return the seconds until ``words`` are drawn."""
    began = time.perf_counter()
    with Terminal(command=command, columns=120, rows=40) as terminal:
        while words not in terminal.output:
            assert terminal.pump(20.0), bytes(terminal.output)
        return time.perf_counter() - began


def measure(name: str) -> None:
    """Start both in turn, and print their times."""
    minimal, home = [], []
    for _ in range(RUNS):
        minimal.append(seconds([sys.executable, "-c", MINIMAL], b"hello there"))
        home.append(seconds([FTWIZARD], b"New fine-tune"))
    least = min(minimal), min(home)
    middle = statistics.median(minimal), statistics.median(home)
    print(
        f"{name:<12} minimal {middle[0]:.3f} s, home {middle[1]:.3f} s = "
        f"{middle[1] / middle[0]:.2f}x (fastest {least[1] / least[0]:.2f}x), limit {LIMIT:g}x"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FTWIZARD_HOME"] = folder
        measure("no runs")
        for number in range(LISTED):
            make_run(Path(folder), f"run{number}", steps=1000)
        measure(f"{LISTED} runs")


if __name__ == "__main__":
    main()
