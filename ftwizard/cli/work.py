"""``_work``: the hidden command that every job runs."""

from __future__ import annotations

import os
from pathlib import Path


def work(folder: str) -> int:
    """Run the job in ``folder``; return the exit status of the worker."""
    os.umask(0o077)
    from ftwizard.jobs import worker
    from ftwizard.jobs.folder import JobFolder

    job = JobFolder(Path(folder))
    kind = job.read_job().kind
    if kind == "train":
        from ftwizard.train.trainer import run

        return worker.run(job, run)
    if kind == "probe":
        from ftwizard.train.probe import run as probe

        return worker.run(job, probe)
    raise SystemExit(f"{job.job}: unknown kind of job {kind!r}.")
