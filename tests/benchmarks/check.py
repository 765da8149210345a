"""Full check of a large chat file, compared with orjson and together-python 1.5's ``check_file``.

Limits: at most 4 × the CPU time of ``orjson.loads`` over the same lines, and less than together's;
two processes at least 1.7 × as fast as one; at most 150 MB at the peak. Tokens and near-duplicates
are not counted. Each command runs in its own process, in turn; the best of a few runs counts.

    python -m tests.benchmarks.check [--bytes 1e9] [--peers PYTHON] [FILE]

``PYTHON`` is an interpreter that has ``orjson`` and ``together<2``; without it, only ftwizard is
measured.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks import chat_file

ORJSON = """
import sys, orjson
loads = orjson.loads
with open(sys.argv[1], "rb", buffering=1 << 20) as file:
    for line in file:
        loads(line)
"""
TOGETHER = """
import pathlib, sys
from together.utils.files import check_file
assert check_file(pathlib.Path(sys.argv[1]))["is_check_passed"]
"""
CHECK = """
import sys, resource
from pathlib import Path
from ftwizard.data.checks.run import CheckOptions, check_files
from ftwizard.data.io import chunks

if __name__ == "__main__":
    chunks.MAX_PROCESSES = int(sys.argv[2])
    options = CheckOptions(target="openai-sft", count="no", near=False)
    report = check_files(Path(sys.argv[1]), options)
    print(report.rows, report.verdict, [(f.code, f.count) for f in report.findings])
    both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    print("peak MB:", [resource.getrusage(who).ru_maxrss // 1024 for who in both])
"""


def measure(python: str, code: str, *arguments: str) -> tuple[float, float, str]:
    """Return CPU seconds, wall-clock seconds and the output."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    child = subprocess.run(
        [python, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    spent, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if child.returncode:
        raise RuntimeError(child.stderr[-2000:])
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return cpu, spent, child.stdout


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--bytes", type=float, default=1e9)
    parser.add_argument("--peers", default="")
    parser.add_argument("--runs", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ftwizard-") as folder:
        file = asked.file or Path(folder) / "chat.jsonl"
        if not file.exists():
            chat_file.write(file, int(asked.bytes))
        print(f"{file.stat().st_size / 1e6:,.0f} MB, {len(os.sched_getaffinity(0))} CPUs")
        commands: dict[str, tuple[str, ...]] = {
            "check, one process": (sys.executable, CHECK, str(file), "1"),
            "check, two processes": (sys.executable, CHECK, str(file), "2"),
        }
        if asked.peers:
            commands["orjson.loads"] = (asked.peers, ORJSON, str(file))
            commands["together 1.5"] = (asked.peers, TOGETHER, str(file))
        best: dict[str, tuple[float, float]] = {}
        for _ in range(asked.runs):
            for name, command in commands.items():
                cpu, wall, text = measure(*command)
                print(f"{name:22} {cpu:6.2f} CPU-s {wall:6.2f} s  {text.strip()[-300:]}")
                least = best.get(name, (cpu, wall))
                best[name] = (min(least[0], cpu), min(least[1], wall))
    item, two = best["check, one process"], best["check, two processes"]
    if asked.peers:
        for name, limit in (("orjson.loads", 4.0), ("together 1.5", 1.0)):
            print(f"CPU time / {name}: {item[0] / best[name][0]:.2f} (limit {limit})")
    print(f"two processes: {item[1] / two[1]:.2f}x as fast as one (limit 1.7)")


if __name__ == "__main__":
    main()
