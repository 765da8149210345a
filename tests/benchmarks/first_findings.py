"""Time from Enter on a large file to its first findings on the data page of the wizard.

Limit: 0.3 s, for any size. The file has a fault in its first row; the time ends when the terminal
shows it. The time of the whole check is printed too.

    python -m tests.benchmarks.first_findings [--bytes 1e9]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import tempfile
import time
from pathlib import Path

from tests.benchmarks import chat_file
from tests.e2e.terminal import Terminal

RUNS = 7
LIMIT_S = 0.3
BAD = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": " "}]}


def measure(file: Path) -> tuple[float, float]:
    """Return the seconds from Enter to the first findings, and to the complete report."""
    with Terminal(columns=120, rows=36) as terminal:
        terminal.wait("New fine-tune")
        terminal.send("n")
        terminal.wait("try this first|is recommended")
        terminal.send("\r")
        terminal.wait("Press enter to read")
        terminal.send(str(file))
        terminal.wait(re.escape(file.name))
        time.sleep(0.5)
        began = time.perf_counter()
        terminal.send("\r")
        terminal.wait("empty assistant")
        first = time.perf_counter() - began
        terminal.wait("Continue with")
        return first, time.perf_counter() - began


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=float, default=1e9)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ftwizard-") as folder:
        os.environ["FTWIZARD_HOME"] = folder
        file = Path(folder) / "chat.jsonl"
        chat_file.write(file, int(asked.bytes))
        with file.open("r+b") as rows:
            first = rows.readline()
            rows.seek(0)
            bad = json.dumps(BAD).encode()
            rows.write(bad + b" " * (len(first) - 1 - len(bad)))
        result = [measure(file) for _ in range(RUNS)]
    firsts, wholes = zip(*result, strict=True)
    middle = statistics.median(firsts)
    print(
        f"{asked.bytes / 1e6:,.0f} MB: first findings {middle:.2f} s (longest {max(firsts):.2f}), "
    )
    print(f"  {middle / LIMIT_S:.0%} of the limit; whole check {statistics.median(wholes):.1f} s")


if __name__ == "__main__":
    main()
