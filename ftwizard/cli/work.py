"""``_work``: the hidden command that every job runs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftwizard.jobs.folder import JobFolder
    from ftwizard.jobs.worker import Worker, WorkResult
    from ftwizard.plan.schema import Plan
    from ftwizard.runs.result import MergedModel, TrainResult


def work(folder: str) -> int:
    """Run the job in ``folder``; return the exit status of the worker."""
    os.umask(0o077)
    from ftwizard.jobs import worker
    from ftwizard.jobs.folder import JobFolder, find_own

    job = JobFolder(find_own(folder))
    kind = job.read_job().kind
    if kind == "train":
        return worker.run(job, _run_with_summary)
    if kind == "probe":
        from ftwizard.train import probe

        return worker.run(job, probe.run)
    if kind == "serve":
        from ftwizard.serve import server

        return worker.run(job, server.run)
    if kind == "eval":
        from ftwizard.evaluate import job as evaluation_job

        return worker.run(job, evaluation_job.run)
    raise SystemExit(f"{job.job}: unknown kind of job {kind!r}.")


def work_in_allocation(folder: str) -> int:
    """Start the run in ``folder`` on the node of its Slurm job, and wait for its end."""
    os.umask(0o077)
    from ftwizard.jobs.folder import JobFolder
    from ftwizard.train import slurm_node

    return slurm_node.run(JobFolder(Path(folder)))


def _run_with_summary(worker: Worker) -> WorkResult:
    """Train, and keep the summary for views of a long run meanwhile."""
    from ftwizard.runs.summary import SummaryWriter

    writer = SummaryWriter(worker.folder)
    try:
        return run_training(worker)
    finally:
        writer.close()


def run_training(worker: Worker) -> WorkResult:
    """Train, unless an earlier attempt did; then carry out the plan's ``finish``."""
    import msgspec

    from ftwizard.jobs.ending import GOOD_END_REASONS
    from ftwizard.jobs.worker import WorkResult
    from ftwizard.plan import plan_file
    from ftwizard.runs.result import RunResult
    from ftwizard.train import checkpoint_rotation, measure

    folder = worker.folder
    # What was checked at the start; plan.yaml may have been edited since.
    plan = plan_file.read_recorded(folder) or plan_file.load(folder.plan, begun=True)
    if plan.is_hosted:
        from ftwizard.cli import hosted_work

        return hosted_work.run(worker, plan)
    began = time.monotonic()
    trained = _read_trained(worker) or _train(worker, plan)
    merged = None
    is_finished = trained.reason in GOOD_END_REASONS
    if is_finished:
        merged = _finish(worker, plan, trained)
        checkpoint_rotation.remove_torn(worker.folder.checkpoints)
    result = RunResult(
        end_reason=trained.reason,
        attempt=worker.attempt,
        training=trained,
        merged=merged,
        seconds=round(time.monotonic() - began, 1),
        **msgspec.structs.asdict(measure.compare_with_prediction(worker.folder, trained)),
    )
    if is_finished:
        from ftwizard.export.card.write import write_for

        write_for(worker, result)
    return WorkResult(result, trained.message)


def _read_trained(worker: Worker) -> TrainResult | None:
    """Return the result of an earlier attempt's training; None if there is none, or it is damaged."""
    from ftwizard.jobs.ending import GOOD_END_REASONS
    from ftwizard.runs.result import read_trained
    from ftwizard.train import checkpoint_rotation

    trained = read_trained(worker.folder)
    if trained is None or trained.reason not in GOOD_END_REASONS:
        return None
    if damage := checkpoint_rotation.find_result_damage(worker.folder, trained):
        message = f"Damaged: {', '.join(damage)}. The result is taken from the checkpoints again."
        worker.events.write_finding("damaged_result", message, "warning")
        return None
    return trained


def _train(worker: Worker, plan: Plan) -> TrainResult:
    """Train, after a rehearsal of the exports and the answers of the base model."""
    from ftwizard.evaluate.run.baseline import evaluate_base
    from ftwizard.export import run_exports
    from ftwizard.train import budget, trainer

    _record_environment(worker.folder)

    def before_steps(base: Path) -> None:
        run_exports.rehearse(worker, plan, base)
        evaluate_base(worker, plan, base, budget.seconds_before(plan))

    return trainer.train(worker, plan, before_steps)


def _record_environment(folder: JobFolder) -> None:
    """Record hardware and versions; a disk that does not take them is no reason to end a run."""
    import contextlib

    from ftwizard.runs.environment import record_environment

    with contextlib.suppress(OSError):
        record_environment(folder)


def _finish(worker: Worker, plan: Plan, trained: TrainResult) -> MergedModel | None:
    """Carry out ``plan.finish`` within the run; return the merged model, if there is one."""
    import msgspec

    from ftwizard.evaluate.run.tuned import evaluate_tuned
    from ftwizard.export import run_exports
    from ftwizard.export.run_merge import merge_run, prove_in_run
    from ftwizard.jobs.folder import JobFolder
    from ftwizard.runs import base_weights
    from ftwizard.train import budget

    folder, base = worker.folder, Path(trained.base)
    linked = JobFolder(folder.link)  # whose paths stay valid where the folder is moved meanwhile
    merged = None

    def report(part: str, **progress: Any) -> None:
        worker.phase("merging", what=part, **progress)

    base_weights.wait()
    if plan.finish.compare or (plan.finish.merge and trained.method != "full"):
        hint = f"Restore the old files, then: ftwizard resume {folder.id}"
        base_weights.require_unchanged(folder, base, hint)
    if trained.method == "full" or plan.finish.merge:
        merged = merge_run(linked, trained, linked.merged, report, base=base)
        prove_in_run(worker, plan, trained, report)
    if plan.finish.compare:
        seconds = budget.seconds_left(folder, plan)
        evaluate_tuned(worker, plan, trained, seconds)
    run_exports.export(worker, plan)
    if merged:
        merged = msgspec.structs.replace(merged, folder=str(folder.merged))
    return merged
