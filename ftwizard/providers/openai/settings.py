"""Settings of a job at OpenAI or Foundry, in the form of a request."""

from __future__ import annotations

from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.plan.schema import HostedMethod, HostedProvider, OpenAI, Plan
from ftwizard.providers.base import ProviderError
from ftwizard.providers.openai.graders import load_grader

_COMMON = ("n_epochs", "batch_size", "learning_rate_multiplier")
_HYPERPARAMETERS: dict[HostedMethod, tuple[str, ...]] = {
    "supervised": _COMMON,
    "dpo": (*_COMMON, "beta"),
    "reinforcement": (
        *_COMMON, "reasoning_effort", "compute_multiplier", "eval_interval", "eval_samples",
    ),
}  # fmt: skip


def build_method(settings: OpenAI, provider: HostedProvider) -> dict[str, Any]:
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


def get_grader(settings: OpenAI, provider: HostedProvider) -> dict[str, Any]:
    """Return the grader of the settings; raise ProviderError if there is none."""
    if settings.grader is None:
        hint = f"Set {provider}.grader to a grader object, or to a file with one."
        problem = f"{provider}.grader is missing: reinforcement needs one."
        raise ProviderError("rejected", problem, hint, code="setting")
    try:
        return load_grader(settings.grader)
    except FtwizardError as error:
        raise ProviderError("rejected", error.message, error.hint, code="setting") from None


def build_wandb(plan: Plan, settings: OpenAI) -> dict[str, Any] | None:
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
