"""Checks of what may end a run: a logout, a container, a Slurm job."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from ftwizard.doctor import containers, logins
from ftwizard.doctor.check import Check, ok, warning
from ftwizard.machine import Facts
from ftwizard.text import duration, visible


def run_checks(
    facts: Facts, environment: Mapping[str, str] | None = None, root: Path = Path("/")
) -> Iterator[Check]:
    """Check what would end a run; report also if nothing does."""
    variables = os.environ if environment is None else environment
    warnings = [
        *logins.run_checks(root),
        *containers.run_checks(root),
        *check_slurm(facts, variables),
    ]
    yield from warnings
    if not warnings:
        yield ok("runs", "they keep running when you log out")
    yield from check_multiplexer(variables)


def check_slurm(
    facts: Facts, environment: Mapping[str, str], now: float | None = None
) -> Iterator[Check]:
    """Warn if runs end with a Slurm allocation, or if this is a login node."""
    if job := environment.get("SLURM_JOB_ID"):
        ends = environment.get("SLURM_JOB_END_TIME", "")
        left_s = int(ends) - (time.time() if now is None else now) if ends.isdigit() else None
        when = f", in {duration(left_s)}" if left_s is not None and left_s > 0 else ""
        yield warning(
            "Slurm",
            f"inside job {visible(job, 20)}: runs end with it{when}",
            "Request enough time (--time). Continue a run later with: ftwizard resume RUN",
        )
    elif shutil.which("sbatch", path=environment.get("PATH")) and not facts.gpus:
        yield warning(
            "Slurm",
            "a cluster node outside any job, without a GPU: probably a login node",
            "Request a GPU first: salloc --gpus 1 --time 4:00:00",
        )


def check_multiplexer(environment: Mapping[str, str]) -> Iterator[Check]:
    """Warn if there is neither tmux nor screen over SSH."""
    if not environment.get("SSH_CONNECTION") or environment.get("TMUX"):
        return
    path = environment.get("PATH")
    if not shutil.which("tmux", path=path) and not shutil.which("screen", path=path):
        yield warning(
            "tmux",
            "neither tmux nor screen: the view ends with the connection (runs keep running)",
            "Reopen it: ftwizard watch RUN   or: sudo apt install tmux",
        )
