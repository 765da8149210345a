"""The work of a hosted run: follow its job, fetch what it hands out, and evaluate the tuned model."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftwizard.jobs.worker import Worker, WorkResult
    from ftwizard.plan.schema import Plan
    from ftwizard.providers.base import Endpoint, Platform
    from ftwizard.runs.evaluation import Evaluation
    from ftwizard.runs.remote import RemoteJob
    from ftwizard.runs.result import BaseComparison


def run(worker: Worker, plan: Plan) -> WorkResult:
    """Follow the job to its end; then carry out the plan's ``finish`` as far as it applies."""
    import msgspec

    from ftwizard.export.card.write import write_for
    from ftwizard.jobs.worker import WorkResult
    from ftwizard.providers import platforms
    from ftwizard.providers.cost import compute_actual_cost
    from ftwizard.providers.endpoints import record_endpoint
    from ftwizard.providers.follow import follow
    from ftwizard.runs import hosted, remote
    from ftwizard.runs.result import RunResult, read_trained

    assert plan.provider != "local"
    began = time.monotonic()
    platform = platforms.get_platform(plan.provider)
    _require_headroom(worker, plan, platform)
    record = follow(worker, plan, platform)
    base = _find_endpoint(platform, plan, record.model)
    tuned = _find_endpoint(platform, plan, record.tuned_model)
    record = msgspec.structs.replace(
        record,
        base_endpoint=record_endpoint(base) if base else None,
        tuned_endpoint=record_endpoint(tuned) if tuned else None,
        actual_cost=compute_actual_cost(record, plan, record.actual_cost),
    )
    remote.write(worker.folder, record)
    _download(worker, plan, platform, record)
    evaluation, compared = _evaluate(worker, plan, base, tuned)
    result = RunResult(
        end_reason="finished",
        attempt=worker.attempt,
        training=read_trained(worker.folder),
        remote=hosted.make_result(record, platform.get_method(plan)),
        compare=compared,
        ship=evaluation.verdict if evaluation else None,
        seconds=round(time.monotonic() - began, 1),
        **msgspec.structs.asdict(hosted.compare_with_prediction(worker.folder, record)),
    )
    write_for(worker, result)
    return WorkResult(result)


def _require_headroom(worker: Worker, plan: Plan, platform: Platform) -> None:
    """Ask the base model before anything is paid for, where the plan requires headroom."""
    from ftwizard.evaluate.run import hosted
    from ftwizard.runs import remote

    record = remote.read(worker.folder)
    if not plan.evaluate.requires_headroom or record is None or record.requested:
        return
    endpoint = _find_endpoint(platform, plan, record.model)
    if endpoint is not None:
        hosted.evaluate_hosted_base(worker, plan, hosted.make_arm("base", endpoint))


def _find_endpoint(platform: Platform, plan: Plan, model: str | None) -> Endpoint | None:
    """Return where a model can be asked; None if it cannot, which the evaluation reports."""
    from ftwizard.providers.base import ProviderError

    if model is None:
        return None
    try:
        return platform.get_endpoint(model, plan)
    except ProviderError:
        return None


def _download(worker: Worker, plan: Plan, platform: Platform, record: RemoteJob) -> None:
    """Download the adapter; what fails there is a finding, the tuned model is at the platform."""
    from ftwizard.errors import FtwizardError
    from ftwizard.runs import hosted

    folder = worker.folder.path / hosted.DOWNLOADED
    if not plan.hosted.download or folder.exists():
        return

    def report(done: int, total: int) -> None:
        worker.phase("downloading", done=done, total=total, unit="bytes")

    try:
        platform.download(record, folder, report)
    except (FtwizardError, OSError) as error:
        reason = error.text if isinstance(error, FtwizardError) else str(error)
        message = f"The weights could not be downloaded: {reason}"
        worker.events.write_finding("download_failed", message, "warning")


def _evaluate(
    worker: Worker, plan: Plan, base: Endpoint | None, tuned: Endpoint | None
) -> tuple[Evaluation | None, BaseComparison | None]:
    """Compare the tuned model with its base."""
    from ftwizard.evaluate.run.hosted import evaluate_hosted, make_arm

    return evaluate_hosted(
        worker,
        plan,
        make_arm("base", base) if base else None,
        make_arm("tuned", tuned) if tuned else None,
    )
