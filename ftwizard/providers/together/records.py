"""Jobs, events, metrics and checkpoints of Together's API, read into the records of the protocol.

The SDK does not check what the service sends, so every field may be missing, new or of another type.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from ftwizard.plan.schema import Together
from ftwizard.providers.base import JobEvent, JobStatus
from ftwizard.providers.fields import (
    MAX_TEXT,
    get_count,
    get_list,
    get_text,
    read_number,
    read_time,
)
from ftwizard.quantity import Figure, today
from ftwizard.runs.remote import JobState, RemoteCheckpoint
from ftwizard.text import make_visible

NANODOLLARS = 1_000_000_000
"""A job's ``total_price`` is in billionths of a dollar (``finetune_price_to_dollars`` of the SDK)."""
JOB_PAGE = "https://api.together.ai/jobs"
_STATES: dict[str, JobState] = {
    "pending": "pending", "queued": "pending",
    "running": "running", "compressing": "running", "uploading": "running", "cancel_requested": "running",
    "completed": "succeeded",
    "error": "failed", "user_error": "failed", "failed": "failed",
    "cancelled": "cancelled", "canceled": "cancelled",
}  # fmt: skip
_SETTINGS = (
    "n_epochs", "n_evals", "n_checkpoints", "batch_size", "gradient_accumulation_steps", "learning_rate",
    "lr_scheduler", "warmup_ratio", "max_grad_norm", "weight_decay", "training_type",
    "training_method", "packing", "max_seq_length", "random_seed", "suffix", "from_checkpoint",
    "early_stopped", "early_stopping_best_step", "early_stopping_best_metric", "wandb_url",
)  # fmt: skip
_NAMES = {
    "train/loss": "loss", "train/accuracy": "accuracy", "train/learning_rate": "learning_rate",
    "train/grad_norm": "grad_norm", "train/epoch": "epoch",
    "eval/loss": "eval_loss", "eval/accuracy": "eval_accuracy",
}  # fmt: skip
"""Our names of the metrics."""
_STEPS = ("train/global_step", "eval/global_step", "global_step", "train/step", "eval/step", "step")
_TIMES = ("timestamp", "logged_at", "train/timestamp", "eval/timestamp")
_AFTER_TRAINING = {
    "training_complete", "early_stopped", "model_compressing", "compressing_model",
    "model_compression_complete", "model_uploading", "model_upload_complete", "job_complete",
    "job_error", "job_user_error", "job_stopped", "refund",
}  # fmt: skip
"""Types of the events that follow the last step."""
_HINTS = {
    "billing_limit": "Add credit at https://api.together.ai/settings/billing, then start it again.",
    "job_user_error": "Change the data or the settings as it says, then start it again.",
    "user_error": "Change the data or the settings as it says, then start it again.",
}
_FAILED_HINT = f"See its page at {JOB_PAGE}. Start it again, or ask Together's support."


def read_job(job: Mapping[str, Any], tag: str | None = None) -> JobStatus:
    """Read a job, whole or truncated; ``tag`` is that of the run whose job it is."""
    status = get_text(job, "status") or "unknown"
    state = _STATES.get(status.lower(), "running")
    has_ended = state in ("succeeded", "failed", "cancelled")
    job_id = get_text(job, "id") or ""
    error, code = _read_error(job) if state == "failed" else ("", "")
    return JobStatus(
        id=job_id,
        status=status,
        state=state,
        model=get_text(job, "model") or "",
        tuned_model=_read_tuned_model(job) if state == "succeeded" else None,
        trained_tokens=get_count(job, "token_count") or None,
        error_code=code,
        error=error,
        hint=_HINTS.get(code, _FAILED_HINT) if state == "failed" else "",
        url=f"{JOB_PAGE}/{job_id}",
        created=read_time(job.get("created_at")),
        finished=read_time(job.get("updated_at")) if has_ended else None,
        expected_end=None if has_ended else _read_expected_end(job),
        training_file=get_text(job, "training_file"),
        validation_file=get_text(job, "validation_file"),
        tag=tag,
        settings={name: job[name] for name in _SETTINGS if job.get(name) is not None},
        planned=_read_planned(job),
        total_steps=get_count(job, "total_steps") or _read_total_steps(job),
        price=_read_price(job),
    )


def _read_planned(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a job tells of the settings of a plan, which has no groups of them."""
    method, kind = _get_group(job, "training_method"), _get_group(job, "training_type")
    scheduler = _get_group(job, "lr_scheduler")
    cycles = _get_group(scheduler, "lr_scheduler_args")
    settings = {
        **job, **kind, **scheduler, **cycles, **method, **_get_group(job, "multimodal_params"),
        "training_method": method.get("method"),
        "lora": {"lora": True, "full": False}.get(str(kind.get("type")).lower()),
        "scheduler_num_cycles": cycles.get("num_cycles"),
    }  # fmt: skip
    names = Together.__struct_fields__
    return {name: settings[name] for name in names if settings.get(name) is not None}


def _get_group(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = record.get(name)
    return value if isinstance(value, Mapping) else {}


def _read_tuned_model(job: Mapping[str, Any]) -> str | None:
    return get_text(job, "model_output_name") or get_text(job, "output_name")


def _read_error(job: Mapping[str, Any]) -> tuple[str, str]:
    """Return why a job failed, and a code: from the job, else from its last event that has one."""
    error = job.get("error")
    if isinstance(error, Mapping):
        return get_text(error, "message") or "", get_text(error, "code") or ""
    if isinstance(error, str) and error:
        return make_visible(error, MAX_TEXT), get_text(job, "status") or ""
    for event in reversed(get_list(job, "events")):
        kind = (get_text(event, "type") or "").lower()
        if (
            kind in ("job_error", "job_user_error", "billing_limit")
            or _read_level(event) == "error"
        ):
            return get_text(event, "message") or "", kind
    return "", ""


def _read_expected_end(job: Mapping[str, Any]) -> float | None:
    """Return when the state is expected to change, while the job trains."""
    progress = job.get("progress")
    if not isinstance(progress, Mapping) or not progress.get("estimate_available"):
        return None
    seconds = read_number(progress.get("seconds_remaining"))
    return time.time() + seconds if seconds and seconds > 0 else None


def _read_total_steps(job: Mapping[str, Any]) -> int | None:
    return (
        max((get_count(event, "total_steps") or 0 for event in get_list(job, "events")), default=0)
        or None
    )


def _read_price(job: Mapping[str, Any]) -> Figure | None:
    """Return the price, once the data was tokenized; 0 stands for a price that is not known yet."""
    nanodollars = read_number(job.get("total_price"))
    if not nanodollars or not math.isfinite(nanodollars) or nanodollars < 0:
        return None
    return Figure(
        value=nanodollars / NANODOLLARS,
        unit="USD",
        source="Together's price of the job",
        as_of=today(),
    )


def read_checkpoints(
    job_id: str, checkpoints: Sequence[Mapping[str, Any]], metrics: Sequence[Mapping[str, Any]]
) -> list[RemoteCheckpoint]:
    """Read checkpoints, one a step, with the losses of that step.

    A LoRA job lists a step twice, as adapter and as merged model.
    """
    losses: dict[int, dict[str, float]] = {}
    for row in metrics:
        step = _read_step(row)
        if step is not None:
            losses.setdefault(step, {}).update(read_metrics(row))
    steps = {step for item in checkpoints if (step := get_count(item, "step")) is not None}
    return [
        RemoteCheckpoint(
            id=f"{job_id}:{step}",
            step=step,
            epoch=losses.get(step, {}).get("epoch"),
            loss=losses.get(step, {}).get("loss"),
            eval_loss=losses.get(step, {}).get("eval_loss"),
        )
        for step in sorted(steps)
    ]


def read_events(
    events: Sequence[Mapping[str, Any]], metrics: Sequence[Mapping[str, Any]]
) -> list[JobEvent]:
    """Read events and metrics in one order, oldest first.

    Metrics have steps and mostly no time, events a time and mostly no step: a step's metrics come
    before an event of that step, and all metrics before the events that follow the training.
    """
    rows = sorted(_read_metric_events(metrics), key=lambda row: row.step or 0)
    merged: list[JobEvent] = []
    next_row = 0
    for event in sorted(_read_plain_events(events), key=lambda item: item.t or 0.0):
        while next_row < len(rows) and _precedes(rows[next_row], event):
            merged.append(rows[next_row])
            next_row += 1
        merged.append(event)
    return merged + rows[next_row:]


def _precedes(row: JobEvent, event: JobEvent) -> bool:
    if event.type.lower() in _AFTER_TRAINING:
        return True
    if row.t is not None and event.t is not None:
        return row.t <= event.t
    return event.step is not None and row.step is not None and row.step <= event.step


def _read_plain_events(events: Iterable[Mapping[str, Any]]) -> Iterable[JobEvent]:
    repeats: Counter[str] = Counter()
    for event in events:
        identity = get_text(event, "hash") or _hash(event)
        repeats[identity] += 1
        suffix = f"-{repeats[identity]}" if repeats[identity] > 1 else ""
        yield JobEvent(
            id=f"event-{make_visible(identity, 80)}{suffix}",
            t=read_time(event.get("created_at")),
            level=_read_level(event),
            type=get_text(event, "type") or "message",
            message=get_text(event, "message") or "",
            step=get_count(event, "step") or None,
            total_steps=get_count(event, "total_steps") or None,
        )


def _hash(event: Mapping[str, Any]) -> str:
    """Return an id of an event without one: its content does not change."""
    parts = [event.get(name) for name in ("created_at", "type", "message", "step")]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]


def _read_level(event: Mapping[str, Any]) -> Literal["info", "warning", "error"]:
    """Return the level of an event: ``Info``, ``legacy_iwarning`` and the like, or nothing."""
    level = (get_text(event, "level") or "").lower()
    kind = (get_text(event, "type") or "").lower()
    if level.endswith("error") or kind in ("job_error", "job_user_error"):
        return "error"
    return (
        "warning" if level.endswith("warning") or kind in ("warning", "billing_limit") else "info"
    )


def _read_metric_events(metrics: Iterable[Mapping[str, Any]]) -> Iterable[JobEvent]:
    """Read rows of metrics. A job that restarted logs a step again; that row gets an id of its own."""
    repeats: Counter[str] = Counter()
    for row in metrics:
        step, values = _read_step(row), read_metrics(row)
        if step is None or not values:
            continue
        kind = "eval" if any(name.startswith("eval/") for name in row) else "train"
        identity = f"{kind}-{step}"
        repeats[identity] += 1
        suffix = f"-{repeats[identity]}" if repeats[identity] > 1 else ""
        times = (read_time(row.get(name)) for name in _TIMES)
        yield JobEvent(
            id=f"{identity}{suffix}",
            t=next((t for t in times if t is not None), None),
            type="metrics",
            step=step,
            metrics=values,
        )


def _read_step(row: Mapping[str, Any]) -> int | None:
    for name in _STEPS:
        step = get_count(row, name)
        if step is not None:
            return step
    return None


def read_metrics(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the values of a row in our names, NaN included."""
    values = {}
    for name, value in row.items():
        number = read_number(value)
        if number is not None and name not in _STEPS and name not in _TIMES:
            values[_NAMES.get(name, make_visible(name, 60))] = number
    return values


def find_last_step(ids: Iterable[str]) -> int:
    """Return the last step among the ids of metrics that were read before; 0 if there is none."""
    last = 0
    for identity in ids:
        kind, _, rest = identity.partition("-")
        step = rest.partition("-")[0]
        if kind == "train" and step.isdecimal():
            last = max(last, int(step))
    return last
