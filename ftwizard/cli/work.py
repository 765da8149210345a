"""``_work``: the hidden command that every job runs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftwizard.jobs.worker import Worker, WorkResult
    from ftwizard.plan.schema import Plan
    from ftwizard.train.train_result import TrainResult


def work(folder: str) -> int:
    """Run the job in ``folder``; return the exit status of the worker."""
    os.umask(0o077)
    from ftwizard.jobs import worker
    from ftwizard.jobs.folder import JobFolder

    job = JobFolder(Path(folder))
    kind = job.read_job().kind
    if kind == "train":
        return worker.run(job, run_training)
    if kind == "probe":
        from ftwizard.train import probe

        return worker.run(job, probe.run)
    raise SystemExit(f"{job.job}: unknown kind of job {kind!r}.")


def run_training(worker: Worker) -> WorkResult:
    """Train, unless an earlier attempt did; then carry out the plan's ``finish``."""
    import msgspec

    from ftwizard.jobs.ending import GOOD_END_REASONS
    from ftwizard.jobs.worker import WorkResult
    from ftwizard.plan import plan_file
    from ftwizard.train import checkpoint_rotation, measure, train_result, trainer

    plan = plan_file.load(worker.folder.plan, begun=True)
    began = time.monotonic()
    trained = train_result.read(worker.folder)
    if trained is None or trained.reason not in GOOD_END_REASONS:
        trained = trainer.train(worker, plan)
    result: dict[str, Any] = {"training": msgspec.to_builtins(trained)}
    if trained.reason in GOOD_END_REASONS:
        result |= _finish(worker, plan, trained)
        checkpoint_rotation.remove_torn(worker.folder.checkpoints)
    result["seconds"] = round(time.monotonic() - began, 1)
    result |= msgspec.to_builtins(measure.compare_with_prediction(worker.folder, trained))
    return WorkResult(trained.reason, result, trained.message)


def _finish(worker: Worker, plan: Plan, trained: TrainResult) -> dict[str, Any]:
    """Carry out ``plan.finish`` within the run; return the entries for its result."""
    from ftwizard.evaluate.compare import compare
    from ftwizard.export.merge import cast_to_16_bit, merge

    folder, base = worker.folder, Path(trained.base)
    result: dict[str, Any] = {}
    if trained.method == "full":
        worker.phase("merging", what="casting to 16-bit")
        best = folder.checkpoints / f"checkpoint-{trained.step}"
        result["merged"] = cast_to_16_bit(base, best, folder.merged, end_ids=trained.end_ids)
    elif plan.finish.merge:
        worker.phase("merging")
        result["merged"] = merge(base, folder.adapter, folder.merged, end_ids=trained.end_ids)
    if plan.finish.compare:
        result["compare"] = compare(worker, plan, trained)
    return result
