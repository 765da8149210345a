"""Fake probe process: batches above ``DUMMY_FITS`` rows end as ``DUMMY_ENDS`` says.

Smaller batches return made-up measurements. The worker is the real one (lock, events, done event);
only its work is fake.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from ftwizard.errors import FtwizardError
from ftwizard.jobs import worker
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan import plan_file
from ftwizard.runs.prediction import RunFigures
from ftwizard.train import probe_runner
from tests.helpers.probes import measured


def work(job: worker.Worker) -> worker.WorkResult:
    probe_runner.exit_with_starter(job.folder)
    recipe = plan_file.load(job.folder.plan, begun=True).recipe
    ends = os.environ.get("DUMMY_ENDS", "")
    job.phase("loading", what="model")
    Path(os.environ["DUMMY_INFO_FILE"]).write_text(f"{os.getpid()} {job.folder.path}")
    if ends == "loading":
        raise MemoryError
    job.phase("measuring", what="steps", done=0, total=3, unit="steps")
    job.events.write("finding", code="x", severity="info", message="Said each time.")
    if recipe.batch_size > int(os.environ.get("DUMMY_FITS", "64")):
        _end(ends)
    measurements = measured(memory_training=1000 * recipe.batch_size)
    return worker.WorkResult(
        probe_runner.ProbeOutcome(
            end_reason="finished", attempt=job.attempt, measured=measurements, evaluations=2,
            predicted=RunFigures(),
        )
    )  # fmt: skip


def _end(how: str) -> None:
    if how == "gpu":
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
    if how == "memory":
        raise MemoryError
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "refuse":
        raise FtwizardError("It trains on nothing.", "Give it answers.", 3)
    if how == "hang":
        time.sleep(300)
    raise ValueError("made up")


if __name__ == "__main__":
    sys.exit(worker.run(JobFolder(Path(sys.argv[1])), work))
