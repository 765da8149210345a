"""Checks of what may end a run: a logout, a container, a Slurm job."""

from __future__ import annotations

import getpass
import os
import re
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

    That is so for programs of the user manager, for example in a desktop's terminal; setsid does not
    leave its unit.
    """
    try:
        cgroup = (root / "proc/self/cgroup").read_text()
    except OSError:
        return
    if not re.search(r"/user@\d+\.service", cgroup):
        return
    user = user or getpass.getuser()
    if not (root / "var/lib/systemd/linger" / user).exists():
        detail = "programs started here end at your last logout (they belong to your user manager)"
        yield warning("logind", detail, f"loginctl enable-linger {make_visible(user)}")


def check_slurm(environment: Mapping[str, str]) -> Iterator[Check]:
    """Warn if runs end with a Slurm allocation."""
    if job := environment.get("SLURM_JOB_ID"):
        detail = f"inside job {make_visible(job, 20)}: runs end with it"
        fix = "Request enough time (--time). Continue a run later with: ftwizard resume RUN"
        yield warning("Slurm", detail, fix)
