"""The request of a job at OpenAI or Foundry, from a plan."""

from __future__ import annotations

from typing import Any

from ftwizard.hosted_platforms import HostedProvider
from ftwizard.plan.schema import HostedMethod, OpenAI, Plan
from ftwizard.providers.openai.graders import get_grader
from ftwizard.providers.openai.jobs import TAG_NAME
from ftwizard.runs.remote import RemoteJob

_COMMON = ("n_epochs", "batch_size", "learning_rate_multiplier")
_HYPERPARAMETERS: dict[HostedMethod, tuple[str, ...]] = {
    "supervised": _COMMON,
    "dpo": (*_COMMON, "beta"),
    "reinforcement": (
        *_COMMON, "reasoning_effort", "compute_multiplier", "eval_interval", "eval_samples",
    ),
}  # fmt: skip


def build_request(
    plan: Plan, settings: OpenAI, remote: RemoteJob, provider: HostedProvider
) -> dict[str, Any]:
    """Return the body of the request that creates the job; it has no secret."""
    files = {part: file.id for part, file in remote.files.items() if file.id}
    request: dict[str, Any] = {
        "model": remote.model,
        "training_file": files["train"],
        "method": _build_method(settings, provider),
        "metadata": {**settings.metadata, TAG_NAME: remote.tag},
    }
    if "validation" in files:
        request["validation_file"] = files["validation"]
    if settings.suffix:
        request["suffix"] = settings.suffix
    if settings.seed is not None:
        request["seed"] = settings.seed
    if integration := _build_wandb(plan, settings):
        request["integrations"] = [integration]
    return request


def _build_method(settings: OpenAI, provider: HostedProvider) -> dict[str, Any]:
    """Return the ``method`` of a job: its type, hyperparameters, and grader."""
    hyperparameters = {
        name: getattr(settings, name)
        for name in _HYPERPARAMETERS[settings.method]
        if getattr(settings, name) is not None
    }
    if hyperparameters.get("reasoning_effort") == "default":
        del hyperparameters["reasoning_effort"]  # Foundry knows only low, medium and high
    details: dict[str, Any] = {"hyperparameters": hyperparameters}
    if settings.method == "reinforcement":
        details["grader"] = get_grader(settings, provider)
    return {"type": settings.method, settings.method: details}


def _build_wandb(plan: Plan, settings: OpenAI) -> dict[str, Any] | None:
    """Return the integration with Weights & Biases, if the plan has one."""
    wandb = settings.wandb
    project = wandb.project or ("ftwizard" if "wandb" in plan.report_to else None)
    if project is None:
        return None
    details: dict[str, Any] = {"project": project}
    details |= {name: getattr(wandb, name) for name in ("entity", "name") if getattr(wandb, name)}
    if wandb.tags:
        details["tags"] = list(wandb.tags)
    return {"type": "wandb", "wandb": details}
