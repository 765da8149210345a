"""Events, metrics, states and result files of OpenAI's fine-tuning API, in our words."""

from __future__ import annotations

import base64
import binascii
import contextlib
import csv
import hashlib
import io
import math
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from ftwizard.providers.base import JobEvent
from ftwizard.providers.fields import read_number
from ftwizard.runs.remote import JobState
from ftwizard.text import make_visible

_STATES: dict[str, JobState] = {
    "validating_files": "pending", "queued": "pending", "pending": "pending", "created": "pending",
    "notrunning": "pending", "running": "running", "paused": "paused", "pausing": "paused",
    "succeeded": "succeeded", "completed": "succeeded", "failed": "failed", "error": "failed",
    "expired": "failed", "cancelled": "cancelled", "canceled": "cancelled", "deleted": "cancelled",
}  # fmt: skip
_FULL: dict[str, str] = {
    "full_valid_loss": "eval_loss",
    "full_valid_mean_token_accuracy": "eval_accuracy",
    "full_valid_accuracy": "eval_accuracy",
    "full_valid_reward_mean": "eval_reward",
    "full_valid_mean_reward": "eval_reward",
}
"""Metrics of the whole validation file, which replace those of a batch of it."""
_NAMES: dict[str, str] = {
    "train_loss": "loss",
    "training_loss": "loss",
    "train_mean_token_accuracy": "accuracy",
    "train_accuracy": "accuracy",
    "train_reward_mean": "reward",
    "train_mean_reward": "reward",
    "valid_loss": "eval_loss",
    "valid_mean_token_accuracy": "eval_accuracy",
    "valid_accuracy": "eval_accuracy",
    "valid_reward_mean": "eval_reward",
    "valid_mean_reward": "eval_reward",
    "learning_rate": "learning_rate",
    "lr": "learning_rate",
    "grad_norm": "grad_norm",
    "epoch": "epoch",
    "critic_rewards_mean": "reward",
    "actor_grad_norm": "grad_norm",
}
"""The last two are those of open weights at Bedrock."""
_VALIDATION_REWARD = re.compile(r"val(?:id|idation)?[_/-].*rewards?[_/-]mean")
"""The same elsewhere: the whole name is not documented."""
_NOT_METRICS = {"step", "total_steps", "elapsed_tokens", "elapsed_examples"}
_LEVELS: dict[str, Literal["info", "warning", "error"]] = {
    "warn": "warning", "warning": "warning", "error": "error"
}  # fmt: skip
_STEP = re.compile(
    r"^Step (?P<step>\d+)(?:/(?P<total>\d+))?: training loss=(?P<train_loss>[\d.]+)"
    r"(?:, validation loss=(?P<valid_loss>[\d.]+))?"
    r"(?:, full validation loss=(?P<full_valid_loss>[\d.]+))?"
)
"""A step in words, which some services send without data."""
MAX_METRICS = 64
MAX_MESSAGE = 500


def get_state(status: str) -> JobState:
    """Return what a status means; ``running`` for one that is unknown, which ends nothing."""
    return _STATES.get(status.strip().lower(), "running")


def convert_metrics(data: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of a step under our names.

    Where a step has the loss of a validation batch and of the whole file, ``eval_loss`` is that of
    the file, and the other keeps the platform's name.
    """
    numbers = {}
    for name, value in list(data.items())[:MAX_METRICS]:
        number = read_number(value)
        if name in _NOT_METRICS or number is None or _is_unset(name, number):
            continue
        numbers[name] = number
    full = {_FULL[name] for name in numbers if name in _FULL}
    metrics: dict[str, float] = {}
    for name, number in numbers.items():
        ours = _FULL.get(name) or _NAMES.get(name)
        ours = ours or ("eval_reward" if _VALIDATION_REWARD.fullmatch(name) else None)
        if ours is None or (name not in _FULL and ours in full):
            metrics[make_visible(name, 60)] = number
        else:
            metrics[ours] = number
    return metrics


def _is_unset(name: str, number: float) -> bool:
    """Return whether a value stands for none: some result files have −1 between evaluations."""
    return number == -1 and name.endswith(("loss", "accuracy"))


def arrange_events(
    newest_first: Iterable[Any], ignored: frozenset[str], redact: Callable[[str], str]
) -> list[JobEvent]:
    """Return events of the SDK oldest first, each once; steps in order, one evaluation a step."""
    events: dict[str, JobEvent] = {}
    full = set()
    for item in newest_first:
        event = convert_event(item, redact)
        if event.id not in ignored:
            events.setdefault(event.id, event)
            data = getattr(item, "data", None)
            if isinstance(data, Mapping) and not _FULL.keys().isdisjoint(data):
                full.add(event.id)
    ordered = list(events.values())[::-1]
    ordered.sort(key=lambda event: math.inf if event.t is None else event.t)
    return _keep_one_evaluation(_order_steps(ordered), full)


def convert_event(item: Any, redact: Callable[[str], str]) -> JobEvent:
    """Return an event of the SDK; data of an unknown form is left out."""
    message = redact(_text(item, "message"))[:MAX_MESSAGE]
    raw = getattr(item, "data", None)
    data: dict[str, Any] = dict(raw) if isinstance(raw, Mapping) else {}
    if read_number(data.get("step")) is None and (match := _STEP.match(message)):
        groups = {name: value for name, value in match.groupdict().items() if value}
        data.update(groups, total_steps=groups.pop("total", None))
        data.pop("total", None)
    step = _to_step(data.get("step"))
    created = read_number(getattr(item, "created_at", None))
    kind = make_visible(_text(item, "type") or "message", 40)
    return JobEvent(
        id=make_visible(_text(item, "id"), 200) or _make_id(created, kind, message, data),
        t=created if created is not None and math.isfinite(created) else None,
        level=_LEVELS.get(_text(item, "level").lower(), "info"),
        type=kind,
        message=message,
        step=step,
        total_steps=_to_step(data.get("total_steps")),
        metrics=convert_metrics(data) if step is not None else {},
    )


def _text(item: Any, name: str) -> str:
    value = getattr(item, name, None)
    return value if isinstance(value, str) else ""


def _to_step(value: object) -> int | None:
    number = read_number(value)
    if number is None or not math.isfinite(number) or not 0 <= number < 2**53:
        return None
    return int(number)


def _make_id(created: float | None, kind: str, message: str, data: Mapping[str, Any]) -> str:
    """Return an id for an event that has none, the same at each look."""
    text = f"{created} {kind} {message} {sorted(map(str, data.items()))}"
    return f"event-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:16]}"


def _order_steps(events: list[JobEvent]) -> list[JobEvent]:
    """Return the events with those of steps in the order of their steps, in the same slots."""
    slots = [index for index, event in enumerate(events) if event.step is not None]
    by_step = sorted((events[index] for index in slots), key=lambda event: event.step or 0)
    for index, event in zip(slots, by_step, strict=True):
        events[index] = event
    return events


def _keep_one_evaluation(events: Sequence[JobEvent], full: Container[str]) -> list[JobEvent]:
    """Return the events with one evaluation of a step at most: the last of the whole file if there is
    one (``full``: ids of events with one), else the last."""
    chosen: dict[tuple[int | None, str], str] = {}
    for event in events:
        for name in event.metrics:
            key = (event.step, name)
            if name.startswith("eval_") and (event.id in full or chosen.get(key) not in full):
                chosen[key] = event.id
    return [
        msgspec.structs.replace(
            event,
            metrics={
                name: number
                for name, number in event.metrics.items()
                if chosen.get((event.step, name), event.id) == event.id
            },
        )
        for event in events
    ]


def parse_results(content: bytes) -> list[JobEvent]:
    """Return the steps of a result file: CSV, also in base64; none if it is neither."""
    events: dict[int, JobEvent] = {}
    rows = csv.DictReader(io.StringIO(_decode_results(content), newline=""))
    with contextlib.suppress(csv.Error):  # what was read before the damage is kept
        for row in rows:
            data = {
                name.strip(): value.strip()
                for name, value in row.items()
                if name and isinstance(value, str)
            }
            step, metrics = _to_step(data.get("step")), convert_metrics(data)
            if step is not None and metrics:
                events[step] = JobEvent(
                    id=f"result-{step}", type="result", step=step, metrics=metrics
                )
    return [events[step] for step in sorted(events)]


def _decode_results(content: bytes) -> str:
    """Return the text of a result file, which OpenAI sends in base64 and others as it is."""
    if b"," not in content:
        try:
            content = base64.b64decode(b"".join(content.split()), validate=True)
        except (binascii.Error, ValueError):
            return ""
    return content.decode("utf-8-sig", "replace").replace("\0", "")
