"""Hosted runs in words: their job at the platform, what it cost, and what works without local weights."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator

from ftwizard.errors import FtwizardError
from ftwizard.hosted_platforms import PLATFORMS, HostedPlatform, Serving
from ftwizard.jobs.ending import GOOD_END_REASONS
from ftwizard.jobs.folder import JobFolder
from ftwizard.quantity import Figure, today
from ftwizard.runs import prediction, remote
from ftwizard.runs.prediction import PredictionResult, RunFigures
from ftwizard.runs.progress import Progress
from ftwizard.runs.remote import (
    BilledResource,
    RemoteCheckpoint,
    RemoteJob,
    RemoteResult,
    RemoteSummary,
)
from ftwizard.text import format_count, format_dollars, make_visible

DOWNLOADED = "downloaded"
"""Folder of downloaded weights; an adapter is moved from it to ``adapter/``."""
PAUSING = ("openai", "foundry")
"""Platforms that can pause a job."""
MAX_ID = 120
"""Characters of an id or a name that a platform gave."""
MAX_STEPS_LISTED = 5
HOURS_PER_MONTH = 730.0
MIN_HOURLY_USD = 0.01
"""Lower prices are shown by the month."""
_TAG = re.compile(r"[0-9a-f]{32}")


def name_platform(provider: str) -> str:
    """Return a platform's name for a person."""
    platform = _find_platform(provider)
    return platform.name if platform else make_visible(provider, 40)


def _find_platform(provider: str) -> HostedPlatform | None:
    """Return what is known of a platform that a record names; None for an unknown one."""
    return next((each for name, each in PLATFORMS.items() if name == provider), None)


def get_serving(provider: str, model: str) -> Serving:
    """Return how a platform serves a tuned model. ``model``: id of its base model."""
    from ftwizard.catalog.hosted_models import find_variant  # the app begins without the catalog

    for name, platform in PLATFORMS.items():
        if name == provider:
            hosted_model = find_variant(model, name)
            return hosted_model.serving if hosted_model else platform.serving
    return "at_once"


def find_serving(record: RemoteJob) -> Serving:
    """Return how the tuned model of a job is served."""
    return get_serving(record.provider, record.model)


def has_released_weights(record: RemoteJob) -> bool:
    """Return whether the weights of a tuned model may be downloaded from its platform."""
    from ftwizard.catalog.hosted_models import get_weights  # the app begins without the catalog

    names = (name for name in PLATFORMS if name == record.provider)
    return any(get_weights(record.model, name) == "yes" for name in names)


def describe_unserved(
    run_id: str, record: RemoteJob, *, is_downloaded: bool = False
) -> tuple[str, str]:
    """Describe why a platform never serves a tuned model, and what to do instead.

    ``is_downloaded``: whether its adapter is on this machine.
    """
    platform, model = name_platform(record.provider), make_visible(record.model, MAX_ID)
    if has_released_weights(record):
        text = f"{platform} does not serve a tuned {model}: the weights are yours."
        if is_downloaded:
            return text, f"They were downloaded. To use them here: ftwizard merge {run_id}"
        return text, f"Download them: ftwizard download {run_id}"
    own = f"ftwizard eval {run_id} --served-model NAME"
    return (
        f"{platform} serves a tuned {model} only on capacity bought by the hour, which ftwizard never buys.",
        f"Buy it in the console of {platform}, then: {own}. It is billed until you delete it.",
    )


def describe_deploying(run_id: str, record: RemoteJob) -> str:
    """Describe what makes a tuned model answer that does not answer yet."""
    serving = find_serving(record)
    if serving == "never":
        return " ".join(describe_unserved(run_id, record))
    cost = "free while nobody asks it" if serving == "free_deployment" else "billed by the hour"
    return f"Deploy it, which is {cost}: ftwizard deploy {run_id}."


def can_be_asked(record: RemoteJob) -> bool:
    """Return whether the tuned model of a job answers at its platform, as far as is known here."""
    return record.tuned_endpoint is not None or find_serving(record) == "at_once"


def list_keys(folder: JobFolder) -> tuple[str, ...]:
    """Return the secret variables that the model of a hosted run is asked with."""
    record = read_served(folder)
    platform = _find_platform(record.provider) if record else None
    return platform.secrets if platform else ()


def read_hosted(folder: JobFolder) -> RemoteJob | None:
    """Return the record of a hosted run without weights on this machine; None for any other run.

    Where the platform's adapter was downloaded, the run has ``trained.json`` and is like a local one.
    """
    return None if folder.trained.exists() else remote.read(folder)


def read_served(folder: JobFolder) -> RemoteJob | None:
    """Return the record of a hosted run whose model is asked at its platform; None if it is asked here.

    A merged run is asked here, unless its platform serves it.
    """
    record = remote.read(folder)
    return record if record and (record.tuned_endpoint or not folder.trained.exists()) else None


def require_local(folder: JobFolder, done: str) -> None:
    """Raise FtwizardError if the weights of a run are at a platform only.

    ``done`` is what cannot be done with them here: ``merged``.
    """
    record = read_hosted(folder)
    if record is None:
        return
    run, platform = make_visible(folder.id, 64), name_platform(record.provider)
    if record.tuned_model is None:
        raise FtwizardError(
            f"Run {run} trains at {platform}, which has made no model yet that could be {done}.",
            f"Its state: ftwizard status {run}",
        )
    if folder.adapter.is_dir():
        raise FtwizardError(
            f"Run {run} has its adapter here, without its base model, so it cannot be {done} yet.",
            f"Merge it first, which downloads the base model if needed: ftwizard merge {run}",
        )
    if (folder.path / DOWNLOADED).is_dir():
        model = make_visible(str(folder.path / DOWNLOADED))
        raise FtwizardError(
            f"Run {run} was trained at {platform}, and all its weights were downloaded as one model.",
            f"Use that folder: ftwizard export {model} --to gguf, or ftwizard eval {model} --base MODEL",
        )
    if has_released_weights(record):
        raise FtwizardError(
            f"The weights of run {run} are at {platform} and were not downloaded, so they cannot be {done}.",
            f"Download them: ftwizard download {run}",
        )
    raise FtwizardError(
        f"The weights of run {run} are at {platform}, so they cannot be {done} here.",
        f"What works with them: ftwizard eval {run}, chat {run}, status {run}, card {run}",
    )


def refuse_removal(folder: JobFolder) -> None:
    """Raise FtwizardError for a run that is the only record of what may still cost money at a platform:
    something that is billed by the hour, or a job that has not ended as far as is known here."""
    record, run = remote.read(folder), make_visible(folder.id, 64)
    if record and record.billed:
        raise FtwizardError(
            f"Run {run} has {describe_billed(record.billed[0])}. Nothing was deleted.",
            f"Delete that first: ftwizard teardown {run}",
        )
    here_only = f"To delete the run here only: rm -r {shlex.quote(make_visible(str(folder.path)))}"
    if record is None and folder.remote.exists():
        raise FtwizardError(
            f"{make_visible(str(folder.remote))} could not be read, so what run {run} has at its "
            "platform is unknown. Nothing was deleted.",
            f"Look there for a job and for what is billed. {here_only}",
        )
    if record and record.requested and not record.has_ended and not record.adopted:
        platform = name_platform(record.provider)
        job = (
            f"job {make_visible(record.job_id, MAX_ID)}"
            if record.job_id
            else "job, if it was made,"
        )
        raise FtwizardError(
            f"The {job} of run {run} may still run at {platform}, and be billed. Nothing was deleted.",
            f"Cancel it: ftwizard stop {run} --cancel   Follow it to its end: ftwizard resume {run}   "
            f"{here_only}",
        )


def describe_kept_model(run_id: str, record: RemoteJob) -> str:
    """Describe a tuned model that is billed for as long as its platform keeps it; empty for others."""
    platform = _find_platform(record.provider)
    if platform is None or not platform.bills_models or record.tuned_model is None:
        return ""
    return (
        f"The tuned model of run {make_visible(run_id, 64)} is billed by the month until it is deleted at "
        f"{platform.name}: ftwizard teardown --provider {record.provider}"
    )


def list_uploaded(folder: JobFolder) -> list[tuple[str, str]]:
    """Return platform and id of each file that a run uploaded.

    The address of one in a bucket has the run's tag. A record from somebody else may name any other
    object there, which would be deleted with the run.
    """
    record = remote.read(folder)
    if record is None:
        return []
    ids = [file.id for file in record.files.values() if file.id]
    has_tag = bool(_TAG.fullmatch(record.tag))
    return [
        (record.provider, each) for each in ids
        if "://" not in each or (has_tag and record.tag in each)
    ]  # fmt: skip


def list_buckets(record: RemoteJob) -> list[str]:
    """Return the buckets that a run uploaded files to, as addresses."""
    names = (file.id or "" for file in record.files.values())
    addresses = (name for name in names if name.startswith(("s3://", "gs://")))
    return sorted({make_visible("/".join(name.split("/")[:3]), MAX_ID) for name in addresses})


def refuse_elsewhere(folder: JobFolder, consequence: str) -> None:
    """Raise FtwizardError for a run that was trained at a platform, and what follows from that."""
    if record := remote.read(folder):
        run = make_visible(folder.id, 64)
        raise FtwizardError(
            f"Run {run} is trained at {name_platform(record.provider)}, so {consequence}.",
            f"To train again with other settings, edit a copy of {make_visible(str(folder.plan))}, "
            "then: ftwizard train COPY.yaml",
        )


def describe_state(summary: RemoteSummary) -> str:
    """Describe a job in a few words: ``OpenAI: validating_files``."""
    status = make_visible(summary.status, 40) if summary.status else "no job yet"
    billing = [resource for resource in summary.billed or () if not resource.is_free]
    unit = "month" if all(map(_is_billed_by_month, billing)) else "hour"
    billed = f" · billed by the {unit}" if billing else ""
    return f"{name_platform(summary.provider)}: {status}{billed}"


def describe_missing_loss(record: RemoteJob, progress: Progress, *, is_alive: bool) -> str:
    """Describe why no loss is shown; return "" where one is, or before the training."""
    platform = name_platform(record.provider)
    if progress.loss is not None or progress.eval_loss is not None or record.job_id is None:
        return ""
    hosted_platform = _find_platform(record.provider)
    if not is_alive and record.has_ended:
        return f"{platform} published no loss for this job"
    if record.state == "running":
        if hosted_platform and hosted_platform.losses:
            return f"{platform} publishes losses {hosted_platform.losses}"
        return f"{platform} has published no loss for this job yet"
    return ""


def describe_next(run_id: str, record: RemoteJob, reason: str) -> str | None:
    """Describe what to do after a hosted run ended for ``reason``; None to say what any run says."""
    if reason in (*GOOD_END_REASONS, "refused", "failed", "cancelled"):
        return None
    platform, follow = name_platform(record.provider), f"ftwizard resume {run_id}"
    if record.has_ended:
        return f"The job at {platform} has ended. To finish what follows it: {follow}"
    if record.job_id:
        return f"The job keeps running at {platform}. Follow it again: {follow}"
    if record.requested:
        return f"Whether {platform} created the job is not known yet. To look it up: {follow}"
    return f"No job was created at {platform} yet. To continue: {follow}"


def list_facts(folder: JobFolder, record: RemoteJob) -> Iterator[tuple[str, str]]:
    """Yield labels and texts of a hosted job: its model, tokens, cost, and what is still billed."""
    job = f", job {make_visible(record.job_id, MAX_ID)}" if record.job_id else ""
    yield "at", f"{describe_state(remote.summarize(record))}{job}"
    if record.tuned_model:
        yield "model", make_visible(record.tuned_model, 2 * MAX_ID)
    if record.trained_tokens is not None:
        yield "billed", f"{format_count(record.trained_tokens, 'token')} trained on"
    if cost := describe_cost(folder, record):
        yield "cost", cost
    if record.checkpoints:
        yield "kept", describe_checkpoints(record.checkpoints)
    if better := find_better_checkpoint(record.checkpoints):
        yield "best", describe_better(record.checkpoints, better)
    for resource in record.billed:
        label = "deployed" if resource.is_free else "! billed"
        yield label, f"{describe_billed(resource)}; to end that: ftwizard teardown {folder.id}"
    if find_serving(record) == "own_deployment" and record.tuned_endpoint:
        name = make_visible(record.tuned_endpoint.served_name, MAX_ID)
        text = f"deployment {name} may be billed by the hour until it is deleted"
        yield "! billed", f"{text}: ftwizard teardown {folder.id}"
    if record.url:
        yield "page", make_visible(record.url, 300)


def describe_billed(resource: BilledResource) -> str:
    """Describe what is billed by the hour: ``endpoint ep-1, $3.99 per hour since 2026-11-28 10:00``."""
    name = make_visible(resource.id or resource.name or "of unknown name", MAX_ID)
    price = _describe_price(resource)
    since = ""
    if resource.created:
        since = time.strftime(" since %Y-%m-%d %H:%M", time.localtime(resource.created))
    return f"{make_visible(resource.kind, 40)} {name}, {price}{since}"


def _is_billed_by_month(resource: BilledResource) -> bool:
    """Tell whether a price per hour would be too small to read."""
    return resource.price is not None and resource.price.value < MIN_HOURLY_USD


def _describe_price(resource: BilledResource) -> str:
    if resource.price is None:
        return "by the hour"
    if resource.is_free:
        return "free while nobody asks it"
    if _is_billed_by_month(resource):
        return f"{format_dollars(resource.price.value * HOURS_PER_MONTH)} per month"
    return f"{format_dollars(resource.price.value)} per hour"


def find_cost_so_far(resource: BilledResource) -> float | None:
    """Return what a resource cost until now at its price, in US dollars; None if that is unknown."""
    if resource.price is None or resource.created is None:
        return None
    return resource.price.value * max(0.0, time.time() - resource.created) / 3600


def describe_cost(folder: JobFolder, record: RemoteJob) -> str:
    """Describe the actual and the predicted cost of a job; empty if both are unknown."""
    compared = compare_with_prediction(folder, record)
    predicted, actual = compared.predicted.cost, compared.actual.cost
    expected = f"predicted {_format_range(predicted)}" if predicted else ""
    if actual is None:
        return expected
    error = compared.error.get("cost")
    off = ""
    if error is not None and not actual.has_range and not (predicted and predicted.has_range):
        percent = round(abs(error) * 100)
        off = f", {percent}% too {'high' if error > 0 else 'low'}" if percent else ", exact"
    return _format_range(actual) + (f" ({expected}{off})" if expected else "")


def _format_range(figure: Figure) -> str:
    low, high = format_dollars(figure.lowest), format_dollars(figure.highest)
    return low if low == high else f"{low} – {high}"


def describe_checkpoints(kept: tuple[RemoteCheckpoint, ...]) -> str:
    """Describe the checkpoints that a platform keeps, by step."""
    steps = ", ".join(f"{checkpoint.step:,}" for checkpoint in kept[:MAX_STEPS_LISTED])
    more = ", …" if len(kept) > MAX_STEPS_LISTED else ""
    noun = "step" if len(kept) == 1 else "steps"
    return f"{format_count(len(kept), 'checkpoint')} ({noun} {steps}{more})"


def describe_better(kept: tuple[RemoteCheckpoint, ...], better: RemoteCheckpoint) -> str:
    """Describe the checkpoint to use instead of the last one."""
    last = max(kept, key=lambda checkpoint: checkpoint.step)
    losses = f"validation loss {better.eval_loss:.4g}, {last.eval_loss:.4g} at step {last.step:,}"
    model = make_visible(better.model or "", 2 * MAX_ID)
    return f"stop at the best epoch: use model {model} (step {better.step:,}: {losses})"


def find_better_checkpoint(kept: tuple[RemoteCheckpoint, ...]) -> RemoteCheckpoint | None:
    """Return the checkpoint with the lowest validation loss, if it is not the last one.

    None as well where the platform reports no losses, or the checkpoint cannot be asked.
    """
    lowest = find_lowest_checkpoint(kept)
    return lowest if lowest and lowest.model else None


def find_lowest_checkpoint(kept: tuple[RemoteCheckpoint, ...]) -> RemoteCheckpoint | None:
    """Return the checkpoint with the lowest validation loss, whether or not it can be asked.

    None if that is the last one, or where the platform reports no losses.
    """
    losses = [(c.eval_loss, c.step, c.id) for c in kept if c.eval_loss is not None]
    last = max(kept, key=lambda checkpoint: checkpoint.step, default=None)
    if last is None or last.eval_loss is None:
        return None
    loss, _, best = min(losses)
    return next(c for c in kept if c.id == best) if loss < last.eval_loss else None


def find_checkpoint(run_id: str, record: RemoteJob, step: int) -> str:
    """Return the name of the model of a checkpoint; raise FtwizardError if it cannot be asked."""
    kept = {c.step: c.model for c in record.checkpoints if c.model}
    if model := kept.get(step):
        return model
    raise FtwizardError(
        f"{name_platform(record.provider)} has no checkpoint {step} of run {run_id} that can be asked.",
        f"It keeps: {', '.join(map(str, sorted(kept)))}." if kept else "",
    )


def describe_lowest(run_id: str, record: RemoteJob) -> tuple[str, str] | None:
    """Describe the checkpoint to stop at, and the command that takes it; None if it is the last."""
    lowest = find_lowest_checkpoint(record.checkpoints)
    if lowest is None:
        return None
    last = max(record.checkpoints, key=lambda checkpoint: checkpoint.step)
    text = (
        f"The validation loss was lower at step {lowest.step:,} ({lowest.eval_loss:.4g}) than at the end "
        f"({last.eval_loss:.4g}). {name_platform(record.provider)} keeps that checkpoint"
    )
    if lowest.model:
        is_served = find_serving(record) != "own_deployment"
        action, verb = ("Evaluate it", "eval") if is_served else ("Deploy it first", "deploy")
        command = f"ftwizard {verb} {run_id} --checkpoint {lowest.step}"
        return (
            f"{text} as {make_visible(lowest.model, 2 * MAX_ID)}. {action}: {command}",
            command,
        )
    command = f"ftwizard download {run_id} --checkpoint {lowest.step}"
    return f"{text}. Download it: {command}", command


def compare_with_prediction(folder: JobFolder, record: RemoteJob) -> PredictionResult:
    """Return the predicted and actual time and cost of a hosted job, with their errors.

    The time is the platform's, from the creation of the job to its end.
    """
    predicted = prediction.read_prediction(folder) or RunFigures(cost=record.predicted_cost)
    seconds = None
    if record.created is not None and record.finished is not None:
        value = max(0.0, record.finished - record.created)
        source = "by the platform's clock, from the creation of the job to its end"
        seconds = Figure(value=value, unit="s", source=source, as_of=today())
    actual = RunFigures(seconds=seconds, cost=record.actual_cost)
    outcome = prediction.compare_prediction(predicted, actual)
    if outcome.is_sound:
        return outcome
    return PredictionResult(predicted=RunFigures(), actual=RunFigures(), error={})


_RECORDED = ("provider", "trained_tokens", "predicted_cost", "actual_cost", "checkpoints", "url")


def make_result(record: RemoteJob, method: str) -> RemoteResult:
    """Return what ``result.json`` says of a job that has ended. ``method``: in the platform's words."""
    return RemoteResult(
        **{name: getattr(record, name) for name in _RECORDED},
        job_id=record.job_id or "",
        status=record.status or "",
        base=record.model,
        model=record.tuned_model,
        method=method,
        rows={part: file.rows for part, file in record.files.items()},
    )
