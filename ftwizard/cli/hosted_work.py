"""The worker of a hosted run: it follows the job, downloads the weights, and evaluates the tuned model."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from ftwizard.jobs.worker import Worker, WorkResult
    from ftwizard.models.hub import ModelSource
    from ftwizard.plan.schema import Plan
    from ftwizard.providers.base import Endpoint, Platform
    from ftwizard.providers.session import PlatformSession
    from ftwizard.runs.remote import RemoteJob
    from ftwizard.runs.result import MergedModel


def run(worker: Worker, plan: Plan) -> WorkResult:
    """Follow the job to its end; then carry out the plan's ``finish`` as far as it applies."""
    import msgspec

    from ftwizard.export.card.write import write_for
    from ftwizard.jobs.worker import WorkResult
    from ftwizard.providers import platforms
    from ftwizard.providers.cost import compute_actual_cost
    from ftwizard.providers.endpoints import record_endpoint
    from ftwizard.providers.follow import follow
    from ftwizard.providers.session import PlatformSession
    from ftwizard.runs import hosted, remote
    from ftwizard.runs.result import RunResult, read_trained

    assert plan.provider != "local"
    began = time.monotonic()
    platform = platforms.get_platform(plan.provider)
    _require_headroom(worker, plan, platform)
    record = follow(worker, plan, platform)
    session = PlatformSession(worker, plan, platform, record)
    base = _find_endpoint(session, record.model)
    tuned = _find_endpoint(session, record.tuned_model)
    if tuned.endpoint is None and plan.finish.compare:
        tuned = _deploy(session) or tuned
    record = msgspec.structs.replace(
        remote.read(worker.folder) or record,
        base_endpoint=record_endpoint(base.endpoint) if base.endpoint else None,
        tuned_endpoint=record_endpoint(tuned.endpoint) if tuned.endpoint else None,
        actual_cost=compute_actual_cost(record, plan, record.actual_cost),
    )
    remote.write(worker.folder, record)
    _download(worker, plan, platform, record)
    if lowest := hosted.describe_lowest(worker.folder.id, record):
        text, command = lowest
        worker.events.write_finding("better_checkpoint", text, action=command)
    _evaluate(worker, plan, base, tuned)
    merged = _merge(worker, plan, record)
    result = RunResult(
        end_reason="finished",
        attempt=worker.attempt,
        training=read_trained(worker.folder),
        remote=hosted.make_result(record, platform.get_method(plan)),
        merged=merged,
        seconds=round(time.monotonic() - began, 1),
        **msgspec.structs.asdict(hosted.compare_with_prediction(worker.folder, record)),
    )
    write_for(worker, result)
    return WorkResult(result)


def _require_headroom(worker: Worker, plan: Plan, platform: Platform) -> None:
    """Ask the base model before anything is paid for, where the plan requires headroom."""
    from ftwizard.evaluate.run import hosted
    from ftwizard.providers.session import PlatformSession
    from ftwizard.runs import remote

    record = remote.read(worker.folder)
    if not plan.evaluate.requires_headroom or record is None or record.requested:
        return
    endpoint = _find_endpoint(
        PlatformSession(worker, plan, platform, record), record.model
    ).endpoint
    if endpoint is not None:
        hosted.evaluate_hosted_base(worker, plan, hosted.make_arm("base", endpoint, plan))


class _Served(NamedTuple):
    endpoint: Endpoint | None
    """Where a model can be asked; None if it cannot."""
    reason: str = ""
    """Why it cannot, where its platform says so."""


def _find_endpoint(session: PlatformSession, model: str | None) -> _Served:
    """Return where a model can be asked, or why it cannot, which the evaluation reports."""
    from ftwizard.providers.base import ProviderError

    if model is None:
        return _Served(None)
    try:
        return _Served(session.read_briefly(session.platform.get_endpoint, model, session.plan))
    except ProviderError as error:
        return _Served(None, error.text)


def _deploy(session: PlatformSession) -> _Served | None:
    """Deploy the tuned model where that costs nothing, as the evaluation asks it; None elsewhere.

    What fails is the reason that the evaluation reports. What was deployed is in the record, and stays
    for chats and later evaluations.
    """
    from ftwizard.providers import deployments
    from ftwizard.providers.base import ProviderError
    from ftwizard.runs import hosted

    record, folder = session.record, session.worker.folder
    if record.tuned_model is None or hosted.find_serving(record) != "free_deployment":
        return None
    platform = deployments.get_deployer(record.provider)
    try:
        session.phase("deploying", what="the tuned model")
        quoted = session.read_briefly(platform.quote_endpoint, record.tuned_model)
        if not quoted.is_free:
            return None
        resource = session.read_briefly(deployments.deploy, folder, quoted, platform)
        endpoint = deployments.wait_until_it_answers(
            folder, resource, platform,
            report=lambda seconds: session.phase("deploying", what="the tuned model"),
            sleep=lambda seconds: session.wait(seconds, cancels=False),
        )  # fmt: skip
    except ProviderError as error:
        # The evaluation says itself how to deploy it again.
        has_failed = error.code == "deployment_failed"
        return _Served(None, error.message if has_failed else error.text)
    return _Served(endpoint)


def _download(worker: Worker, plan: Plan, platform: Platform, record: RemoteJob) -> None:
    """Download the adapter; what fails there is a finding, the tuned model is at the platform."""
    from ftwizard.errors import FtwizardError
    from ftwizard.runs import hosted

    folder = worker.folder.path / hosted.DOWNLOADED
    if not plan.hosted.download or worker.folder.adapter.exists():
        return

    def report(done: int, total: int) -> None:
        worker.phase("downloading", done=done, total=total, unit="bytes")

    try:
        if not folder.exists():
            platform.download(record, folder, report)
        if (folder / "adapter_config.json").exists():
            folder.rename(worker.folder.adapter)
    except (FtwizardError, OSError) as error:
        reason = error.text if isinstance(error, FtwizardError) else str(error)
        worker.events.write_finding(
            "download_failed",
            f"The weights could not be downloaded: {reason}",
            "warning",
            action=f"ftwizard download {worker.folder.id}",
        )


def _merge(worker: Worker, plan: Plan, record: RemoteJob) -> MergedModel | None:
    """Merge and export a downloaded adapter where its base model is on this machine; else say how.

    What fails there is a finding: the tuned model is at the platform, and its adapter is here.
    """
    from ftwizard.errors import FtwizardError

    if not plan.finish.merge or not worker.folder.adapter.is_dir():
        return None
    try:
        return _merge_here(worker, plan, record)
    except (FtwizardError, OSError) as error:
        reason = error.message if isinstance(error, FtwizardError) else str(error)
        _report_unmerged(worker, plan, f"The adapter was not merged: {reason}", "warning")
        return None


def _merge_here(worker: Worker, plan: Plan, record: RemoteJob) -> MergedModel | None:
    from ftwizard.hardware.machine import is_installed
    from ftwizard.text import make_visible

    if not all(map(is_installed, ("huggingface_hub", "transformers", "peft"))):
        text = 'Merging it needs more packages: uv tool install "ftwizard[local]".'
        _report_unmerged(worker, plan, f"The adapter was downloaded. {text}")
        return None
    from ftwizard.export import platform_adapter
    from ftwizard.models import hub

    source = platform_adapter.find_cached_base(worker.folder, record)
    base = hub.find_local(source) if source else None
    if source is None or base is None:
        names = platform_adapter.list_base_names(worker.folder, record)
        model = make_visible((names or [record.model])[0], 200)
        text = f"Its base model, {model}, is not on this machine, so it was not merged."
        _report_unmerged(worker, plan, f"The adapter was downloaded. {text}")
        return None
    return _merge_onto(worker, plan, record, base, source)


def _merge_onto(
    worker: Worker, plan: Plan, record: RemoteJob, base: Path, source: ModelSource
) -> MergedModel:
    import msgspec

    from ftwizard.export import platform_adapter, run_exports
    from ftwizard.export.run_merge import merge_run, prove_in_run
    from ftwizard.jobs.folder import JobFolder
    from ftwizard.runs import base_weights
    from ftwizard.runs.result import read_trained

    def report(part: str, **progress: Any) -> None:
        worker.phase("merging", what=part, **progress)

    linked = JobFolder(worker.folder.link)
    earlier = read_trained(worker.folder)
    trained = earlier or platform_adapter.make_trained(worker.folder, record, base, source)
    merged = merge_run(linked, trained, linked.merged, report, base=base)
    if earlier is None:
        platform_adapter.record_trained(worker.folder, trained, source)
    prove_in_run(worker, plan, trained, report)
    run_exports.export(worker, plan)
    base_weights.wait()
    return msgspec.structs.replace(merged, folder=str(worker.folder.merged))


def _report_unmerged(worker: Worker, plan: Plan, message: str, severity: str = "info") -> None:
    command = f"ftwizard merge {worker.folder.id}"
    forms = " ".join(f"--to {name}" for name in plan.finish.export)
    more = f", then: ftwizard export {worker.folder.id} {forms}" if forms else ""
    text = f"{message} To merge it: {command} (downloads the base model if needed){more}"
    worker.events.write_finding("not_merged", text, severity, action=command)


def _evaluate(worker: Worker, plan: Plan, base: _Served, tuned: _Served) -> None:
    """Compare the tuned model with its base."""
    from ftwizard.evaluate.run.hosted import evaluate_hosted, make_arm

    evaluate_hosted(
        worker,
        plan,
        make_arm("base", base.endpoint, plan) if base.endpoint else None,
        make_arm("tuned", tuned.endpoint, plan) if tuned.endpoint else None,
        why_not_base=base.reason,
        why_not_tuned=tuned.reason,
    )
