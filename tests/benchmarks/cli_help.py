"""Run time of ``ftwizard --help``, compared with a Python that does nothing.

Limit: 0.15 s.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 31
LIMIT_S = 0.15


def seconds(command: list[str]) -> float:
    """Return the median wall time of a command."""
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    nothing = seconds([sys.executable, "-c", "pass"])
    ours = seconds([str(Path(sys.executable).with_name("ftwizard")), "--help"])
    print(f"python -c pass   {nothing:.3f} s")
    print(
        f"ftwizard --help  {ours:.3f} s = {ours / nothing:.1f}x python, "
        f"{ours / LIMIT_S:.0%} of the limit"
    )


if __name__ == "__main__":
    main()
