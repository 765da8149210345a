"""What ends a run though nobody stopped it: a logout, a container, a job of a cluster."""

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


def look(
    facts: Facts, environment: Mapping[str, str] | None = None, root: Path = Path("/")
) -> Iterator[Check]:
    """Say what would end a run; that nothing does is a finding too."""
    chosen = os.environ if environment is None else environment
    found = [*logins.look(root), *containers.look(root), *slurm(facts, chosen)]
    yield from found
    if not found:
        yield ok("runs", "nothing here ends them when you log out")
    yield from multiplexer(chosen)


def slurm(
    facts: Facts, environment: Mapping[str, str], now: float | None = None
) -> Iterator[Check]:
    """Warn that a run ends with its allocation, or that this is a login node."""
    if job := environment.get("SLURM_JOB_ID"):
        ends = environment.get("SLURM_JOB_END_TIME", "")
        left = int(ends) - (time.time() if now is None else now) if ends.isdigit() else None
        when = f", in {duration(left)}" if left is not None and left > 0 else ""
        yield warning(
            "Slurm",
            f"inside job {visible(job, 20)}: runs end with it{when}",
            "Ask for enough time (--time); what was cut off goes on with: ftwizard resume RUN",
        )
    elif shutil.which("sbatch", path=environment.get("PATH")) and not facts.gpus:
        yield warning(
            "Slurm",
            "a cluster's node outside any job, without a GPU: often a login node",
            "Ask for a GPU first: salloc --gpus 1 --time 4:00:00",
        )


def multiplexer(environment: Mapping[str, str]) -> Iterator[Check]:
    """Say how to come back to the view over SSH where there is neither tmux nor screen."""
    if not environment.get("SSH_CONNECTION") or environment.get("TMUX"):
        return
    path = environment.get("PATH")
    if not shutil.which("tmux", path=path) and not shutil.which("screen", path=path):
        yield warning(
            "tmux",
            "neither tmux nor screen: the view ends with the connection (runs go on)",
            "Come back with: ftwizard watch RUN   or: sudo apt install tmux",
        )
