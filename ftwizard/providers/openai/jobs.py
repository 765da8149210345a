"""Jobs and checkpoints of OpenAI's fine-tuning API, in our words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ftwizard.providers.base import JobStatus
from ftwizard.providers.openai import errors
from ftwizard.providers.openai.errors import Account
from ftwizard.providers.openai.events import convert_metrics, get_state, to_number
from ftwizard.runs.remote import RemoteCheckpoint
from ftwizard.text import make_visible

TAG_NAME = "ftwizard_run"
"""Key of the run's tag in the metadata of a job."""
_UNSAFE_WORDS = (
    "safety",
    "moderation",
    "usage polic",
    "unsafe",
    "harmful",
    "content_filter",
    "rai ",
)


def convert_job(job: Any, job_id: str, account: Account, url: str | None) -> JobStatus:
    """Return a job of the SDK, whose fields may all be missing."""
    status = make_visible(str(getattr(job, "status", "") or "unknown"), 60)
    error = getattr(job, "error", None)
    code, text = getattr(error, "code", None), getattr(error, "message", None)
    metadata = getattr(job, "metadata", None)
    tag = metadata.get(TAG_NAME) if isinstance(metadata, Mapping) else None
    message = account.redact(text) if isinstance(text, str) else ""
    error_code = account.redact(str(code))[:60] if code else ""
    failed = get_state(status) == "failed"
    return JobStatus(
        id=make_visible(job_id, 200),
        status=status,
        state=get_state(status),
        model=make_visible(str(getattr(job, "model", "") or ""), 200),
        tuned_model=_get_text(job, "fine_tuned_model"),
        trained_tokens=_get_count(job, "trained_tokens"),
        error_code=error_code,
        error=message,
        hint=_explain_failure(error_code, message, job, account) if failed else "",
        url=url,
        created=to_number(getattr(job, "created_at", None)),
        finished=to_number(getattr(job, "finished_at", None)),
        expected_end=to_number(getattr(job, "estimated_finish", None)),
        training_file=_get_text(job, "training_file"),
        validation_file=_get_text(job, "validation_file"),
        tag=make_visible(tag, 200) if isinstance(tag, str) else None,
        result_files=_get_texts(job, "result_files"),
        settings=_get_job_settings(job),
        planned=_get_planned(job),
    )


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
    return dict(dump()) if callable(dump) else {}


def convert_checkpoint(item: Any) -> RemoteCheckpoint | None:
    step = to_number(getattr(item, "step_number", None))
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
    number = to_number(getattr(item, name, None))
    return int(number) if number is not None and math.isfinite(number) and number >= 0 else None
