"""What a model card says of a hosted run: its job at the platform, and where the weights are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ftwizard.export.card.facts import Facts
from ftwizard.export.card.markdown import code, escape
from ftwizard.plan.schema import Plan
from ftwizard.runs import describe, hosted
from ftwizard.runs.remote import RemoteJob
from ftwizard.text import format_bytes, format_count

_METHODS = {"dpo": "Preference fine-tune", "reinforcement": "Reinforcement fine-tune"}
_NOT_HYPERPARAMETERS = (
    "method", "training_method", "grader", "suffix", "metadata", "wandb", "deployment", "base_deployment",
    "from_checkpoint",
)  # fmt: skip
"""Settings that do not shape the weights, or that are only for the account."""
_PARTS = {"train": "training", "validation": "validation"}
_MAX_HASH = 16
"""Digits of a hash in a line."""


def describe_model(facts: Facts, record: RemoteJob) -> str:
    """Return the sentence that introduces the model."""
    kind = _METHODS.get(get_method(facts.plan), "Fine-tune")
    rows = record.files["train"].rows if "train" in record.files else None
    trained_on = f", trained on {format_count(rows, 'example')}" if rows else ""
    return f"{kind} of {code(record.model)} at {_name(record)}{trained_on}."


def get_method(plan: Plan | None) -> str:
    """Return the method of a plan in the platform's words; empty without a readable plan."""
    if plan is None or not plan.is_hosted:
        return ""
    return plan.platform_settings.own_method


def list_job(facts: Facts, record: RemoteJob) -> Iterator[tuple[str, str]]:
    """Yield labels and texts of the job at the platform."""
    job = f", job {code(record.job_id)}" if record.job_id else ""
    status = f", {escape(record.status, 40)}" if record.status else ""
    yield "platform", f"{_name(record)}{job}{status}"
    yield "base model", code(record.model)
    if record.tuned_model:
        yield "tuned model", code(record.tuned_model, 200)
    for part, file in record.files.items():
        digest = facts.uploads.get(part, "")
        shown = f", sha256 {code(digest[:_MAX_HASH])}…" if digest else ""
        rows = f"{format_count(file.rows, 'row')}, {format_bytes(file.size_bytes)}"
        yield f"{_PARTS.get(part, escape(part, 20))} file", f"{rows}{shown}"
    if settings := dict(list_hyperparameters(facts.plan, record)):
        shown = ", ".join(f"{code(name)} {code(value)}" for name, value in settings.items())
        yield "hyperparameters", shown
    if record.checkpoints:
        yield "checkpoints", escape(hosted.describe_checkpoints(record.checkpoints))
    if record.trained_tokens is not None:
        yield "trained tokens", f"{record.trained_tokens:,} billed"


def list_hyperparameters(plan: Plan | None, record: RemoteJob) -> Iterator[tuple[str, str]]:
    """Yield the hyperparameters under the platform's names: as it chose them, else as asked for."""
    settings: dict[str, Any] = {}
    if plan is not None and plan.is_hosted and not record.adopted:  # else its defaults are ours
        method = get_method(plan)
        settings = {
            name: value
            for name, value in msgspec.to_builtins(plan.platform_settings).items()
            if name not in _NOT_HYPERPARAMETERS and _applies(name, method)
        }
    for name, value in (settings | dict(record.settings)).items():
        if value is not None and isinstance(value, str | int | float | bool):
            yield name, describe.format_setting(value)


def _applies(name: str, method: str) -> bool:
    """Return whether a setting counts with a method."""
    of_method = {
        "beta": "dpo", "dpo_beta": "dpo", "reasoning_effort": "reinforcement",
        "compute_multiplier": "reinforcement", "eval_interval": "reinforcement",
        "eval_samples": "reinforcement",
    }  # fmt: skip
    return of_method.get(name, method) == method


def list_weights(record: RemoteJob) -> Iterator[str]:
    """Yield where the weights are, as Markdown."""
    model = f": {code(record.tuned_model, 200)}" if record.tuned_model else ""
    is_served = hosted.find_serving(record) != "never"
    asked = "They are asked through its API." if is_served else "It does not serve them by itself."
    yield f"The weights are at {_name(record)}{model}. {asked}"
    better = hosted.find_better_checkpoint(record.checkpoints)
    if better and better.model:
        losses = {kept.step: kept.eval_loss for kept in record.checkpoints}
        last = max(losses)
        yield (
            f"Step {better.step:,} has a lower validation loss ({better.eval_loss:.4g}) than step "
            f"{last:,} ({losses[last]:.4g}): {code(better.model, 200)}"
        )


def list_limitations(record: RemoteJob) -> Iterator[str]:
    """Yield what holds for every model at a platform."""
    platform = hosted.name_platform(record.provider)
    if not hosted.has_released_weights(record):
        yield (
            f"The weights stay at {platform}: they cannot be inspected, exported or served elsewhere, and the "
            "model can be asked for as long as its base model is offered there."
        )
    if "validation" not in record.files:
        yield "No validation data: the loss curve cannot show overfitting."
    yield f"The terms of {platform} apply to the base model, and to this model."
    yield "One training: another one may differ."


def _name(record: RemoteJob) -> str:
    return escape(hosted.name_platform(record.provider), 40)
