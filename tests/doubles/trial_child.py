"""A child that says what the real one says, then does as its first argument tells.

``python trial_child.py HOW [TRIAL…]``: like the real one it leaves the named trials out.
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
    "version": "2.13.0", "cuda": "12.8", "hip": None, "available": True, "why": [],
    "archs": ["sm_80", "sm_90"], "cards": [{"index": 0, "name": "Double", "capability": [8, 6]}],
}  # fmt: skip


def say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def well(trial: str, **facts: Any) -> None:
    say(trial=trial, facts=facts, seconds=0.5)


def main(how: str, skip: set[str]) -> None:
    print("noise of a library", file=sys.stderr, flush=True)
    print("no JSON", flush=True)
    say(trial="torch", doing="importing torch")
    if how == "hang-at-import":
        time.sleep(60)
    well("torch", version="2.13.0")
    well("devices", **DEVICES)
    for trial in ("step cpu", "step cuda:0", "bitsandbytes", "4bit cuda:0", "libraries"):
        if trial in skip:
            continue
        say(trial=trial, doing=f"the heart of {trial}")
        if how == f"crash {trial}":
            print("last words\x1b[31m", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        if how == f"hang {trial}":
            # Its own child holds the pipe, as compilers and pools of workers do.
            other = subprocess.Popen(["sleep", "60"])
            say(trial=trial, doing=f"waiting for {other.pid}")
            time.sleep(60)
        if how == f"exit {trial}":
            os._exit(3)
        if how == f"fail {trial}":
            say(trial=trial, error="OSError: libcudart.so.12: cannot open shared object file: x")
        else:
            well(trial, dtype="bf16")


if __name__ == "__main__":
    main(sys.argv[1], set(sys.argv[2:]))
