"""Commands on a run of 1,000,000 events, with a summary and without: seconds and memory.

Limits: 0.5 s and 100 MB. ``runs`` is also measured with ten such runs. Other load only lengthens
a command, so the fastest of a few counts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ftwizard.jobs.folder import JobFolder
from ftwizard.runs.summary import ProgressReader
from tests.benchmarks.attach import EVENTS, make_long
from tests.screens.runs_helpers import make_run

LIMIT_S, LIMIT_MB = 0.5, 100
RUNS = 5
MANY = 10


_MEASURE = """
import os, subprocess, sys, time
began = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
child.returncode = status
print(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, status)
"""


def measure(home: Path, *command: str) -> tuple[float, float, float]:
    """Return the seconds, CPU seconds and peak MB of a command, the fastest of a few.

    A small process starts it, because the peak of a child includes that of its parent at the fork.
    """
    program = [sys.executable, "-c", _MEASURE, sys.executable, "-m", "ftwizard", *command]
    environment = {**os.environ, "FTWIZARD_HOME": str(home)}
    results = []
    for _ in range(RUNS):
        printed = subprocess.run(
            program, env=environment, stdout=subprocess.PIPE, check=True, text=True
        )
        seconds, cpu_s, megabytes, status = map(float, printed.stdout.split())
        assert status == 0, command
        results.append((seconds, cpu_s, megabytes))
    return min(results)


def show(home: Path, name: str, usual: float, commands: list[list[str]]) -> None:
    for command in commands:
        seconds, cpu_s, megabytes = measure(home, *command)
        print(
            f"{name:<16} {' '.join(command):<14} {seconds:.2f} s ({cpu_s:.2f} s of CPU): "
            f"{seconds / LIMIT_S:.0%} of the limit, {seconds / usual:.1f} x --version; "
            f"{megabytes:.0f} MB: {megabytes / LIMIT_MB:.0%}"
        )


def copy_runs(home: Path, run: JobFolder) -> None:
    for index in range(1, MANY):
        shutil.copytree(run.path, home / "runs" / f"long-{index}", copy_function=os.link)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        run = make_long(home, EVENTS)
        make_run(home / "small", "long")
        usual, _, _ = measure(home, "--version")
        named = [[name, "long"] for name in ("status", "diagnose", "watch")]
        print(f"{EVENTS:,} events, {run.events.stat().st_size / 1e6:.0f} MB")
        show(home / "small", "40 events", usual, [["runs"], *named])
        show(home, "without summary", usual, [["runs"], *named])
        reader = ProgressReader(run)
        began = time.process_time()
        reader.read()
        per_event = (time.process_time() - began) / EVENTS
        began = time.process_time()
        reader.write()
        written = time.process_time() - began
        print(
            f"the worker spends {per_event * 1e6:.0f} µs per event on it, and {written * 1e3:.1f} ms "
            f"per summary of {run.summary.stat().st_size / 1e3:.0f} kB"
        )
        show(home, "with summary", usual, [["runs"], *named])
        copy_runs(home, run)
        show(home, f"{MANY} such runs", usual, [["runs"]])
        for path in home.glob("runs/*/progress.msgpack"):
            path.unlink()
        show(home, f"{MANY} without", usual, [["runs"]])


if __name__ == "__main__":
    main()
