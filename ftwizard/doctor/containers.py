"""Whether a container ends with this shell, and whether its first process takes in orphans."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ftwizard.doctor.check import Check, warning
from ftwizard.text import visible

MINI_INITS = {"tini", "docker-init", "dumb-init", "catatonit", "podman-init"}
"""First processes that end with the one program they were given."""
SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh", "ash", "busybox", "su", "sudo", "env",
          "python", "python3", "ftwizard", "uv", "timeout", "script"}  # fmt: skip
"""What a person types into, and what is between that and this program."""
ORPHAN_S = 0.05
WAIT_S = 1.5
"""A first process that takes them in does so at once, or looks now and then."""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A process as /proc shows it."""

    pid: int
    name: str
    state: str
    parent: int


def look(root: Path = Path("/")) -> Iterator[Check]:
    """Warn where a run would end with the container, or stay as a zombie in it."""
    first = process(1, root)
    if first is None or not is_container(root):
        return
    chain = ancestors(os.getpid() if root == Path("/") else 0, root)
    if ends_with_us(chain):
        yield warning(
            "container",
            f"it ends with this shell ({visible(first.name, 20)} is its first process), and every "
            "run with it",
            "Start it by: docker run -d --init IMAGE sleep infinity   then: docker exec -it … bash",
        )
    if root == Path("/") and not is_reaped(orphan()):
        yield warning(
            "container: init",
            f"its first process ({visible(first.name, 20)}) does not take in ended programs: they "
            "stay as zombies",
            "docker run --init …   (Kubernetes: shareProcessNamespace: true)",
        )


def is_container(root: Path = Path("/")) -> bool:
    """Say whether this is a container, by the marks that docker, podman and systemd leave."""
    marks = (".dockerenv", "run/.containerenv", "run/systemd/container")
    return any((root / mark).exists() for mark in marks) or (
        root == Path("/") and bool({"container", "KUBERNETES_SERVICE_HOST"} & set(os.environ))
    )


def ends_with_us(chain: list[Process]) -> bool:
    """Say whether the container ends when this shell does.

    It does where its first process is a shell above this program with only shells between; a
    server between them (sshd, tmux, jupyter) goes on.
    """
    if not chain or chain[-1].pid != 1:
        return False  # entered from outside: docker exec
    above = chain[:-1] if chain[-1].name in MINI_INITS else chain
    return bool(above) and all(_is_shell(one.name) for one in above[1:] or above)


def _is_shell(name: str) -> bool:
    return re.sub(r"[\d.]+$", "", name) in SHELLS


def ancestors(pid: int, root: Path = Path("/")) -> list[Process]:
    """Return a process and those above it, the highest last."""
    found: list[Process] = []
    while pid and (one := process(pid, root)) and len(found) < 64:
        found.append(one)
        pid = one.parent
    return found


def process(pid: int, root: Path = Path("/")) -> Process | None:
    """Return a process, or None when it is gone. Source: proc_pid_stat(5)."""
    try:
        text = (root / f"proc/{pid}/stat").read_text()
    except OSError:
        return None
    before, _, after = text.rpartition(")")
    fields = after.split()
    return Process(pid=pid, name=before.partition("(")[2], state=fields[0], parent=int(fields[1]))


def orphan() -> int | None:
    """Leave a process behind that ends at once; return its pid."""
    try:
        done = subprocess.run(
            ["sh", "-c", f"sleep {ORPHAN_S} >/dev/null 2>&1 & echo $!"],
            check=False, capture_output=True, text=True, timeout=5, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return int(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def is_reaped(pid: int | None, wait_s: float = WAIT_S) -> bool:
    """Say whether somebody has taken in an ended orphan; True where that cannot be told."""
    if pid is None:
        return True
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        one = process(pid)
        if one is None:
            return True
        time.sleep(0.02)
    one = process(pid)
    return one is None or one.state != "Z"
