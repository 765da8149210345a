"""Two real processes that reach each other, and follow the first one's decisions."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

from tests.paths import ROOT

CODE = """
import json
from ftwizard.train import rank_group

group = rank_group.join()
print(json.dumps({
    "shared": group.share(f"of {group.rank}"),
    "gathered": group.gather(group.rank * 10),
    "sum": group.sum(group.rank + 1),
    "flags": group.share_flags([group.is_first, not group.is_first]),
    "is_timed": group.first_collective_s is not None,
}))
rank_group.leave()
"""


def test_processes_share_gather_and_follow_the_first() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        **os.environ, "PYTHONPATH": str(ROOT), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", CODE],
            env={**shared, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    reports = [json.loads(process.communicate()[0].splitlines()[-1]) for process in processes]
    expected = {
        "shared": "of 0",
        "gathered": [0, 10],
        "sum": 3,
        "flags": [True, False],
        "is_timed": True,
    }
    assert reports == [expected, expected]
