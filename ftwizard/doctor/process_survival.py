"""Checks of what may end a run: a logout, a container, a Slurm job."""

from __future__ import annotations

import getpass
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from ftwizard.doctor.check import Check, ok, warning
from ftwizard.text import make_visible

MINI_INITS = {"tini", "docker-init", "dumb-init", "catatonit", "podman-init"}
"""Init processes that end together with their one program."""
SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh", "ash", "busybox", "su", "sudo", "env",
          "python", "python3", "ftwizard", "uv", "timeout", "script"}  # fmt: skip
"""Shells, and programs between a shell and this program."""
QUERY_S = 2.0
QUERY_LOGIND = (
    "busctl", "get-property", "org.freedesktop.login1", "/org/freedesktop/login1",
    "org.freedesktop.login1.Manager", "KillUserProcesses",
)  # fmt: skip


def run_checks(
    environment: Mapping[str, str] = os.environ, root: Path = Path("/")
) -> Iterator[Check]:
    """Check what would end a run; report also if nothing does."""
    warnings = [*check_logout(root), *check_container(root), *check_slurm(environment)]
    yield from warnings or [ok("runs", "they keep running when you log out")]


def check_container(root: Path = Path("/")) -> Iterator[Check]:
    """Warn if a run would end with the container."""
    if not is_container(root):
        return
    process = psutil.Process()
    chain = [process, *process.parents()]
    if chain[-1].pid == 1 and ends_with_shell([ancestor.name() for ancestor in chain]):
        first = make_visible(chain[-1].name(), 20)
        yield warning(
            "container",
            f"ends with this shell ({first} is its first process), and so does every run",
            "Start it with: docker run -d --init IMAGE sleep infinity   then: docker exec -it … bash",
        )


def is_container(root: Path = Path("/")) -> bool:
    """Return whether this is a container, by the markers of docker, podman and Kubernetes."""
    marks = (".dockerenv", "run/.containerenv", "run/systemd/container")
    return any((root / mark).exists() for mark in marks) or (
        root == Path("/") and bool({"container", "KUBERNETES_SERVICE_HOST"} & set(os.environ))
    )


def ends_with_shell(names: Sequence[str]) -> bool:
    """Return whether a container ends when this shell does.

    ``names``: this program and its ancestors, up to the container's first process. It ends if that
    is a shell with only shells between it and this program. A server in between (sshd, tmux,
    jupyter) keeps running.
    """
    above = names[:-1] if names[-1] in MINI_INITS else names
    return bool(above) and all(
        re.sub(r"[\d.]+$", "", name) in SHELLS for name in above[1:] or above
    )


def check_logout(root: Path = Path("/"), *, user: str | None = None) -> Iterator[Check]:
    """Warn if systemd would end runs at logout, with the fix.

    It ends the programs of the user manager, for example of a desktop's terminal, and with
    KillUserProcesses (the default of systemd, but not of Debian, Ubuntu and Fedora) also those of
    an SSH session. setsid leaves neither.
    """
    try:
        cgroup = (root / "proc/self/cgroup").read_text()
    except OSError:
        return
    user = user or getpass.getuser()
    lingers = (root / "var/lib/systemd/linger" / user).exists()
    linger = f"loginctl enable-linger {make_visible(user)}"
    if re.search(r"/user@\d+\.service", cgroup):
        if not lingers:
            detail = (
                "programs started here end at your last logout (they belong to your user manager)"
            )
            yield warning("logind", detail, linger)
    elif re.search(r"/session-[^/]+\.scope", cgroup) and user != "root" and kills_at_logout():
        fix = "start runs with: systemd-run --user --scope ftwizard train PLAN"
        detail = "KillUserProcesses is on: runs end when you log out"
        yield warning("logind", detail, fix if lingers else f"{linger}, then {fix}")


def kills_at_logout() -> bool:
    """Return logind's KillUserProcesses, which spares root; False if it cannot be queried."""
    try:
        done = subprocess.run(
            QUERY_LOGIND, check=False, capture_output=True, text=True, timeout=QUERY_S,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.strip() == "b true"


def check_slurm(environment: Mapping[str, str]) -> Iterator[Check]:
    """Warn if runs end with a Slurm allocation."""
    if job := environment.get("SLURM_JOB_ID"):
        detail = f"inside job {make_visible(job, 20)}: runs end with it"
        fix = "Request enough time (--time). Continue a run later with: ftwizard resume RUN"
        yield warning("Slurm", detail, fix)
