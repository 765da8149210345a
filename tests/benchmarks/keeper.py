"""Memory and CPU share of a keeper while its command runs.

Limits: 40 MB resident, 1 % of a core. Memory is compared with a Python that imports nothing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.helpers.jobs import end_all, keeper_pid, make, start, until_step

SECONDS = 60.0
LIMIT_BYTES = 40e6
LIMIT_SHARE = 0.01


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        job = start(make(Path(folder) / "run", steps=10**6, step_s=0.5))
        until_step(job, 2)
        bare = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        keeper = psutil.Process(keeper_pid(job))
        before = keeper.cpu_times()
        began = time.monotonic()
        time.sleep(SECONDS)
        after = keeper.cpu_times()
        used = after.user + after.system - before.user - before.system
        share = used / (time.monotonic() - began)
        memory = keeper.memory_info().rss
        nothing = psutil.Process(bare.pid).memory_info().rss
        bare.kill()
        bare.wait()
        end_all(Path(folder))
        time.sleep(1)
    print(f"memory  {memory / 1e6:.1f} MB = {memory / nothing:.1f}x a bare Python, "
          f"{memory / LIMIT_BYTES:.0%} of the limit")  # fmt: skip
    print(f"core    {share:.2%} over {SECONDS:.0f} s = {share / LIMIT_SHARE:.0%} of the limit")


if __name__ == "__main__":
    main()
