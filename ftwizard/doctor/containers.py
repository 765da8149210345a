"""Container checks: whether it ends with this shell, and whether its init reaps orphans."""

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
"""Init processes that end together with their one program."""
SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh", "ash", "busybox", "su", "sudo", "env",
          "python", "python3", "ftwizard", "uv", "timeout", "script"}  # fmt: skip
"""Shells, and programs between a shell and this program."""
ORPHAN_S = 0.05
WAIT_S = 1.5
"""An init reaps orphans at once, or polls now and then."""


class ProcessInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A process as /proc shows it."""

    pid: int
    name: str
    state: str
    parent: int


def run_checks(root: Path = Path("/")) -> Iterator[Check]:
    """Warn if a run would end with the container, or stay in it as a zombie."""
    first = read_process(1, root)
    if first is None or not is_container(root):
        return
    chain = list_ancestors(os.getpid() if root == Path("/") else 0, root)
    if ends_with_shell(chain):
        yield warning(
            "container",
            f"ends with this shell ({visible(first.name, 20)} is its first process), and so does every "
            "run",
            "Start it with: docker run -d --init IMAGE sleep infinity   then: docker exec -it … bash",
        )
    if root == Path("/") and not is_reaped(start_orphan()):
        yield warning(
            "container: init",
            f"its first process ({visible(first.name, 20)}) does not reap ended programs: they stay "
            "as zombies",
            "docker run --init …   (Kubernetes: shareProcessNamespace: true)",
        )


def is_container(root: Path = Path("/")) -> bool:
    """Return whether this is a container, by the markers of docker, podman and systemd."""
    marks = (".dockerenv", "run/.containerenv", "run/systemd/container")
    return any((root / mark).exists() for mark in marks) or (
        root == Path("/") and bool({"container", "KUBERNETES_SERVICE_HOST"} & set(os.environ))
    )


def ends_with_shell(chain: list[ProcessInfo]) -> bool:
    """Return whether the container ends when this shell does.

    It does if its first process is a shell with only shells between it and this program. A server
    in between (sshd, tmux, jupyter) keeps running.
    """
    if not chain or chain[-1].pid != 1:
        return False  # entered from outside: docker exec
    above = chain[:-1] if chain[-1].name in MINI_INITS else chain
    return bool(above) and all(_is_shell(ancestor.name) for ancestor in above[1:] or above)


def _is_shell(name: str) -> bool:
    return re.sub(r"[\d.]+$", "", name) in SHELLS


def list_ancestors(pid: int, root: Path = Path("/")) -> list[ProcessInfo]:
    """Return a process and its ancestors, the topmost last."""
    chain: list[ProcessInfo] = []
    while pid and (current := read_process(pid, root)) and len(chain) < 64:
        chain.append(current)
        pid = current.parent
    return chain


def read_process(pid: int, root: Path = Path("/")) -> ProcessInfo | None:
    """Read a process; None if it is gone. Source: proc_pid_stat(5)."""
    try:
        text = (root / f"proc/{pid}/stat").read_text()
    except OSError:
        return None
    before, _, after = text.rpartition(")")
    fields = after.split()
    return ProcessInfo(
        pid=pid, name=before.partition("(")[2], state=fields[0], parent=int(fields[1])
    )


def start_orphan() -> int | None:
    """Start an orphan that ends at once; return its pid."""
    try:
        done = subprocess.run(
            ["sh", "-c", f"sleep {ORPHAN_S} >/dev/null 2>&1 & echo $!"],
            check=False, capture_output=True, text=True, timeout=5, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return int(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def is_reaped(pid: int | None, wait_s: float = WAIT_S) -> bool:
    """Return whether an ended orphan was reaped; True if unknown."""
    if pid is None:
        return True
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        current = read_process(pid)
        if current is None:
            return True
        time.sleep(0.02)
    current = read_process(pid)
    return current is None or current.state != "Z"
