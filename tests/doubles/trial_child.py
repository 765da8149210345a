"""Fake trial process: it prints the real messages and fails as its first argument says.

``python trial_child.py HOW``
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

DEVICES = {
    "version": "2.13.0", "cuda": "12.8", "available": True, "archs": ["sm_80", "sm_90"],
    "cards": [{"name": "Double", "capability": [8, 6]}],
}  # fmt: skip


def say(type: str, trial: str, **fields: Any) -> None:
    print(json.dumps({"type": type, "trial": trial, **fields}), flush=True)


def start(trial: str, action: str) -> None:
    say("Started", trial, action=action)


def well(trial: str, **fields: Any) -> None:
    say("Succeeded", trial, seconds=0.5, **fields)


def main(how: str) -> None:
    print("noise of a library", file=sys.stderr, flush=True)
    print("no JSON", flush=True)
    start("torch", "importing torch")
    if how == "hang-at-import":
        time.sleep(60)
    well("torch")
    well("devices", devices=DEVICES)
    for trial in ("step cpu", "step cuda:0", "bitsandbytes", "4bit cuda:0", "libraries"):
        start(trial, f"the heart of {trial}")
        if how == f"crash {trial}":
            print("last words\x1b[31m", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        if how == f"hang {trial}":
            # Its own child keeps the pipe open, as compilers and worker pools do.
            other = subprocess.Popen(["sleep", "60"])
            start(trial, f"waiting for {other.pid}")
            time.sleep(60)
        if how == f"exit {trial}":
            os._exit(3)
        if how == f"fail {trial}":
            error = "OSError: libcudart.so.12: cannot open shared object file: x"
            say("Failed", trial, error=error, doing=f"the heart of {trial}")
        else:
            well(trial, dtype="bf16")


if __name__ == "__main__":
    main(sys.argv[1])
