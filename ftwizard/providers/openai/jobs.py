"""Jobs and checkpoints of OpenAI's fine-tuning API, in our words."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from ftwizard.providers.access import is_loopback
from ftwizard.providers.base import JobEvent, JobStatus, ProviderError, tolerate
from ftwizard.providers.fields import read_number
from ftwizard.providers.openai import errors
from ftwizard.providers.openai.client import OpenAIClient
from ftwizard.providers.openai.errors import Account
from ftwizard.providers.openai.events import (
    arrange_events,
    convert_metrics,
    get_state,
    parse_results,
)
from ftwizard.runs.remote import RemoteCheckpoint, RemoteJob
from ftwizard.text import make_visible

PAGE_ITEMS = 100
TAG_NAME = "ftwizard_run"
"""Key of the run's tag in the metadata of a job."""
_BODY = {
    "model", "training_file", "validation_file", "method", "suffix", "seed", "metadata",
    "integrations",
}  # fmt: skip
"""Parameters of the SDK's ``create``; others go into the body as they are."""
_UNSAFE_WORDS = (
    "safety",
    "moderation",
    "usage polic",
    "unsafe",
    "harmful",
    "content_filter",
    "rai ",
)


def find_job(client: OpenAIClient, remote: RemoteJob) -> JobStatus | None:
    """Return the job with the tag or the training file of this run; None if there is none.

    A job that still runs or has succeeded comes first, then the newest.
    """
    train = remote.files.get("train")
    training_file = train.id if train else None

    def is_ours(job: Any) -> bool:
        metadata = getattr(job, "metadata", None)
        tag = metadata.get(TAG_NAME) if isinstance(metadata, Mapping) else None
        if tag:
            return bool(tag == remote.tag)
        file_id = getattr(job, "training_file", None)
        return training_file is not None and bool(file_id == training_file)

    jobs: list[Any] = []
    with tolerate("rejected", "missing"):  # where the platform cannot filter
        own = _iterate_jobs(client, metadata={TAG_NAME: remote.tag})
        jobs = [job for job in own if is_ours(job)]
    if not jobs:
        jobs = [job for job in _iterate_jobs(client) if is_ours(job)]
    return min(
        (convert_job(client, job) for job in jobs),
        key=lambda status: (status.state in ("failed", "cancelled"), -(status.created or 0.0)),
        default=None,
    )


def _iterate_jobs(client: OpenAIClient, **filters: Any) -> Iterator[Any]:
    jobs = client.reader.fine_tuning.jobs
    return client.iterate(
        "list the jobs", functools.partial(jobs.list, limit=PAGE_ITEMS, **filters)
    )


def create_job(client: OpenAIClient, request: Mapping[str, Any]) -> JobStatus:
    """Create the job, with one request that is never repeated."""
    own: dict[str, Any] = {name: request[name] for name in request if name in _BODY}
    extra = {name: request[name] for name in request if name not in _BODY}
    create = functools.partial(
        client.writer.fine_tuning.jobs.create, **own, extra_body=extra or None
    )
    job = client.call("create the job", create, creates=True, model=str(request.get("model")))
    client.require_id(job, "create the job")
    return convert_job(client, job)


def get_job(client: OpenAIClient, job_id: str) -> JobStatus:
    """Return the state of a job."""
    request = functools.partial(client.reader.fine_tuning.jobs.retrieve, job_id)
    job = client.call("look up the job", request)
    if not getattr(job, "status", None):
        raise errors.unreadable(client.account, "look up the job")
    return convert_job(client, job, job_id)


def list_events(client: OpenAIClient, job_id: str, read_ids: frozenset[str]) -> list[JobEvent]:
    """Return the events whose ids are not in ``read_ids``, oldest first.

    The platform lists the newest first, so older pages are read only until a known event.
    """
    request = functools.partial(
        client.reader.fine_tuning.jobs.list_events, job_id, limit=PAGE_ITEMS
    )
    items: list[Any] = []
    for page in client.iterate_pages("list the events of the job", request):
        items += page
        is_newest_first = _get_time(page[0]) > _get_time(page[-1])
        if is_newest_first and any(getattr(item, "id", None) in read_ids for item in page):
            break
    return arrange_events(items, read_ids, client.account.redact)


def list_checkpoints(client: OpenAIClient, job_id: str) -> list[RemoteCheckpoint]:
    """Return the checkpoints that the platform keeps, by step."""
    request = functools.partial(
        client.reader.fine_tuning.jobs.checkpoints.list, job_id, limit=PAGE_ITEMS
    )
    checkpoints: dict[str, RemoteCheckpoint] = {}
    with tolerate("missing"):
        for item in client.iterate("list the checkpoints of the job", request):
            checkpoint = convert_checkpoint(item)
            if checkpoint is not None:
                checkpoints[checkpoint.id] = checkpoint
    return sorted(checkpoints.values(), key=lambda checkpoint: checkpoint.step)


def read_results(client: OpenAIClient, status: JobStatus) -> list[JobEvent]:
    """Return the metrics of all steps from the job's result files; none if they are gone."""
    events: dict[int, JobEvent] = {}
    for file_id in status.result_files:
        request = functools.partial(client.reader.files.content, file_id)
        with tolerate("missing"):
            content = client.call("read the results of the job", request).read()
            events |= {event.step or 0: event for event in parse_results(content)}
    return [events[step] for step in sorted(events)]


def change_job(client: OpenAIClient, verb: str, job_id: str, reached: tuple[str, ...]) -> None:
    """Cancel, pause or resume a job.

    Raises ProviderError if the platform refuses, unless the job is in one of the states ``reached``.
    """
    change = getattr(client.reader.fine_tuning.jobs, verb)
    try:
        client.call(f"{verb} the job", functools.partial(change, job_id))
    except ProviderError as error:
        # The platform refuses what is so already (400, 409), also where only a reply was lost.
        is_refused = error.kind in ("rejected", "unreachable")
        if not is_refused or get_job(client, job_id).state not in reached:
            raise


def _get_time(item: Any) -> float:
    return read_number(getattr(item, "created_at", None)) or 0.0


def convert_job(client: OpenAIClient, job: Any, job_id: str = "") -> JobStatus:
    """Return a job of the SDK, whose fields may all be missing."""
    account = client.account
    job_id = make_visible(str(getattr(job, "id", "") or job_id), 200)
    status = make_visible(str(getattr(job, "status", "") or "unknown"), 60)
    error = getattr(job, "error", None)
    code, text = getattr(error, "code", None), getattr(error, "message", None)
    metadata = getattr(job, "metadata", None)
    tag = metadata.get(TAG_NAME) if isinstance(metadata, Mapping) else None
    message = account.redact(text) if isinstance(text, str) else ""
    error_code = account.redact(str(code))[:60] if code else ""
    failed = get_state(status) == "failed"
    return JobStatus(
        id=job_id,
        status=status,
        state=get_state(status),
        model=make_visible(str(getattr(job, "model", "") or ""), 200),
        tuned_model=_get_text(job, "fine_tuned_model"),
        trained_tokens=_get_count(job, "trained_tokens"),
        error_code=error_code,
        error=message,
        hint=_explain_failure(error_code, message, job, account) if failed else "",
        url=_get_url(account, job_id),
        created=read_number(getattr(job, "created_at", None)),
        finished=read_number(getattr(job, "finished_at", None)),
        expected_end=read_number(getattr(job, "estimated_finish", None)),
        training_file=_get_text(job, "training_file"),
        validation_file=_get_text(job, "validation_file"),
        tag=make_visible(tag, 200) if isinstance(tag, str) else None,
        result_files=_get_texts(job, "result_files"),
        settings=_get_job_settings(job),
        planned=_get_planned(job),
    )


def _get_url(account: Account, job_id: str) -> str | None:
    """Return the page of a job; elsewhere than at OpenAI, it needs ids that no answer has."""
    is_openai = account.host.endswith(".openai.com") or is_loopback(account.host)
    if account.provider != "openai" or not is_openai:
        return None
    return f"https://platform.openai.com/finetune/{job_id}"


def _explain_failure(code: str, message: str, job: Any, account: Account) -> str:
    """Return what to do about a job that failed."""
    text = f"{code} {message}".lower()
    if code == errors.NOT_TRAINABLE:
        return errors.format_alternatives(str(getattr(job, "model", "")), account.provider)
    if "quota" in text or "billing" in text:
        return "Add credit to the account, then train again."
    if any(word in text for word in _UNSAFE_WORDS):
        return (
            "Remove rows with unsafe content, then train again. The platform checks rows and"
            " tuned model against its usage policies."
        )
    if any(word in text for word in ("file", "example", "line", "format", "token")):
        return "Correct the rows (ftwizard check names them), then train again."
    return (
        f"Train again. If it fails again, ask the support of {account.name} with the id of the job."
    )


def dump_fields(item: object) -> dict[str, Any]:
    """Return the fields of an object of the SDK; none for anything else."""
    dump = getattr(item, "model_dump", None)
    # The SDK's classes lack some values of other services, such as a grader in Lambda.
    return dict(dump(warnings=False)) if callable(dump) else {}


def convert_checkpoint(item: Any) -> RemoteCheckpoint | None:
    step = read_number(getattr(item, "step_number", None))
    if step is None or not math.isfinite(step) or not getattr(item, "id", None):
        return None
    raw = getattr(item, "metrics", None)
    metrics = convert_metrics(dump_fields(raw))
    return RemoteCheckpoint(
        id=make_visible(str(item.id), 200),
        model=_get_text(item, "fine_tuned_model_checkpoint"),
        step=int(step),
        loss=metrics.get("loss"),
        eval_loss=metrics.get("eval_loss"),
    )


def _get_job_settings(job: Any) -> dict[str, Any]:
    """Return the hyperparameters that the platform chose or confirmed."""
    method = getattr(job, "method", None)
    kind = getattr(method, "type", None)
    details = getattr(method, kind, None) if isinstance(kind, str) else None
    values: dict[str, Any] = {}
    for raw in (getattr(job, "hyperparameters", None), getattr(details, "hyperparameters", None)):
        values |= {name: value for name, value in dump_fields(raw).items() if value is not None}
    for name in ("seed", "trainingType"):
        values[name] = getattr(job, name, None)
    return {
        make_visible(name, 60): make_visible(value, 60) if isinstance(value, str) else value
        for name, value in values.items()
        if isinstance(value, str | int | float)
    }


def _get_planned(job: Any) -> dict[str, Any]:
    """Return what a job tells of the settings of a plan."""
    method = dump_fields(getattr(job, "method", None))
    details = method.get(str(method.get("type")))
    grader = details.get("grader") if isinstance(details, Mapping) else None
    own = {"method": method.get("type"), "grader": grader, "suffix": _get_suffix(job)}
    settings = _get_job_settings(job) | own
    return {name: value for name, value in settings.items() if value is not None}


def _get_suffix(job: Any) -> str | None:
    return _get_text(job, "user_provided_suffix")  # which the SDK has no field for


def _get_text(item: Any, name: str) -> str | None:
    value = getattr(item, name, None)
    return make_visible(value, 300) if isinstance(value, str) and value else None


def _get_texts(item: Any, name: str) -> tuple[str, ...]:
    values = getattr(item, name, None)
    if not isinstance(values, list):
        return ()
    return tuple(make_visible(value, 200) for value in values if isinstance(value, str))


def _get_count(item: Any, name: str) -> int | None:
    number = read_number(getattr(item, name, None))
    return int(number) if number is not None and math.isfinite(number) and number >= 0 else None
