"""The work of a hosted run: follow its job, fetch what it hands out, and evaluate the tuned model."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftwizard.jobs.worker import Worker, WorkResult
    from ftwizard.plan.schema import Plan
    from ftwizard.providers.base import Platform
    from ftwizard.runs.evaluation import Evaluation
    from ftwizard.runs.remote import RemoteEndpoint, RemoteJob
    from ftwizard.runs.result import BaseComparison

DOWNLOADED = "downloaded"
"""Folder of the adapter or the weights that the platform hands out."""


def run(worker: Worker, plan: Plan) -> WorkResult:
    """Follow the job to its end; then carry out the plan's ``finish`` as far as it applies."""
    import msgspec

    from ftwizard.cli.work import write_card
    from ftwizard.jobs.worker import WorkResult
    from ftwizard.providers import platforms
    from ftwizard.providers.follow import follow
    from ftwizard.runs import hosted, remote
    from ftwizard.runs.result import RunResult, read_trained

    assert plan.provider != "local"
    began = time.monotonic()
    platform = platforms.get_platform(plan.provider)
    _require_headroom(worker, plan, platform)
    record = follow(worker, plan, platform)
    record = _complete_record(platform, plan, record)
    remote.write(worker.folder, record)
    _download(worker, plan, platform, record)
    evaluation, compared = _evaluate(worker, plan, record)
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
    write_card(worker, result)
    return WorkResult(result)


def _require_headroom(worker: Worker, plan: Plan, platform: Platform) -> None:
    """Ask the base model before anything is paid for, where the plan requires headroom."""
    from ftwizard.evaluate.run import hosted
    from ftwizard.runs import remote

    record = remote.read(worker.folder)
    if not plan.evaluate.requires_headroom or record is None or record.requested:
        return
    endpoint = _get_endpoint(platform, plan, record.model)
    if endpoint is not None:
        hosted.evaluate_hosted_base(worker, plan, hosted.make_arm("base", endpoint))


def _evaluate(
    worker: Worker, plan: Plan, record: RemoteJob
) -> tuple[Evaluation | None, BaseComparison | None]:
    """Compare the tuned model with its base."""
    from ftwizard.evaluate.run import hosted

    arms = {
        name: hosted.make_arm(name, endpoint) if endpoint else None
        for name, endpoint in (("base", record.base_endpoint), ("tuned", record.tuned_endpoint))
    }
    return hosted.evaluate_hosted(worker, plan, arms["base"], arms["tuned"])


def _complete_record(platform: Platform, plan: Plan, record: RemoteJob) -> RemoteJob:
    """Return the record with where the models can be asked, and what the job has cost."""
    import msgspec

    from ftwizard.providers import cost

    return msgspec.structs.replace(
        record,
        base_endpoint=_get_endpoint(platform, plan, record.model),
        tuned_endpoint=_get_endpoint(platform, plan, record.tuned_model),
        actual_cost=record.actual_cost or cost.compute_actual_cost(record, plan),
    )


def _get_endpoint(platform: Platform, plan: Plan, model: str | None) -> RemoteEndpoint | None:
    from ftwizard.providers.base import ProviderError
    from ftwizard.runs.remote import RemoteEndpoint

    if model is None:
        return None
    try:
        endpoint = platform.get_endpoint(model, plan)
    except ProviderError:
        return None
    if endpoint is None:
        return None
    return RemoteEndpoint(
        address=endpoint.address,
        served_name=endpoint.served_name,
        key_variable=endpoint.key_variable,
    )


def _download(worker: Worker, plan: Plan, platform: Platform, record: RemoteJob) -> None:
    """Download the adapter; what fails there is a finding, the tuned model is at the platform."""
    from ftwizard.errors import FtwizardError

    folder = worker.folder.path / DOWNLOADED
    if not plan.hosted.download or (folder / "adapter_config.json").exists():
        return

    def report(done: int, total: int) -> None:
        worker.phase("downloading", done=done, total=total, unit="bytes")

    try:
        platform.download(record, folder, report)
    except (FtwizardError, OSError) as error:
        reason = error.text if isinstance(error, FtwizardError) else str(error)
        message = f"The weights could not be downloaded: {reason}"
        worker.events.write_finding("download_failed", message, "warning")
