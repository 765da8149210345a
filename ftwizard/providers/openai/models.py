"""Models at OpenAI and Foundry: those that an account has, and until when."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping
from typing import Any

from ftwizard.catalog.hosted_models import check_deprecation, find_listed, find_model
from ftwizard.hosted_platforms import HostedProvider
from ftwizard.plan.schema import Plan
from ftwizard.providers.base import LiveModel, ProviderError
from ftwizard.providers.openai import errors
from ftwizard.providers.openai.client import OpenAIClient
from ftwizard.text import format_count, make_visible

NEAR_S = 180 * 86_400
"""A shutdown within this time is worth a caution."""
UNKNOWN_RIGHT = (
    "Whether this organization still can is known only when a job is created, after the upload."
)
"""Caution where the service may already be closed to the organization: no request shows that."""


def get_model_id(plan: Plan, provider: HostedProvider = "openai") -> str:
    """Return the platform's id of the plan's model, also where the plan has its short name.

    Foundry's ids are those of OpenAI.
    """
    hosted = find_model(plan.model.name, "mantle" if provider == "mantle" else "openai")
    return hosted.api or plan.model.name if hosted else plan.model.name


def list_models(client: OpenAIClient) -> list[LiveModel]:
    """Return the models that the account sees."""
    models = client.iterate("list the models", client.reader.models.list)
    return [convert_model(model) for model in models if getattr(model, "id", None)]


def convert_model(model: Any) -> LiveModel:
    """Return a model of the SDK, with what only Foundry says: its rights and its end.

    A flag against tuning is ignored, because open models have it wrongly.
    """
    capabilities = getattr(model, "capabilities", None)
    tunable = capabilities.get("fine_tune") if isinstance(capabilities, Mapping) else None
    ends = getattr(model, "deprecation", None)
    ends = ends if isinstance(ends, Mapping) else {}
    days = [_to_day(ends.get("inference")), _to_day(getattr(model, "shutdown_date", None))]
    return LiveModel(
        id=make_visible(str(model.id), 200),
        tunable=True if tunable is True else None,
        shutdown=min(filter(None, days), default=None),
    )


def describe_lifecycle(client: OpenAIClient, model: str, *, ends: bool) -> list[str]:
    """Return what the catalog knows of the end of the service and, with ``ends``, of the model."""
    hosted = find_listed(model, client.account.provider)
    if hosted is None:
        return []
    lifecycle = check_deprecation(hosted, datetime.date.today())
    cautions = [lifecycle.why_not] if lifecycle.why_not else []
    if lifecycle.until and not lifecycle.why_not:
        cautions.append(
            f"{client.account.name} accepts no new jobs from {lifecycle.until.date}"
            f" {lifecycle.until.citation}."
        )
    if ends and lifecycle.ends and lifecycle.ends.date > datetime.date.today():
        cautions.append(
            f"{hosted.name} and the models tuned from it are shut down on"
            f" {lifecycle.ends.date} {lifecycle.ends.citation}."
        )
    cautions += lifecycle.cautions
    if lifecycle.cautions:
        cautions.append(UNKNOWN_RIGHT)
    return cautions


def check_model(client: OpenAIClient, plan: Plan) -> list[str]:
    """Check that the account sees the model, and how long it lives; return cautions."""
    name = get_model_id(plan, client.account.provider)
    shown = make_visible(name, 100)
    action = f"look up the model {shown}"
    try:
        live = client.call(action, functools.partial(client.reader.models.retrieve, name))
        return _check_live(client, convert_model(live), plan)
    except ProviderError as error:
        if error.kind == "permission":
            return [f"The key is not allowed to look up models, so {shown} was not checked."]
        if error.kind != "missing":
            raise
    return _check_listing(client, name, plan)


def _check_listing(client: OpenAIClient, name: str, plan: Plan) -> list[str]:
    """Look for a model, which could not be looked up by its id, in the list."""
    shown = make_visible(name, 100)
    try:
        models = list_models(client)
    except ProviderError as error:
        if error.kind in ("key", "closed"):
            raise
        return [f"{client.account.name} does not list its models, so {shown} was not checked."]
    for model in models:
        if model.id == name:
            return _check_live(client, model, plan)
    if any(model.id.startswith(f"{name}-20") for model in models):
        return []  # a name without its date
    raise ProviderError(
        "missing",
        f"This account at {client.account.name} has no model {shown}.",
        f"{errors.hint_models(client.account.provider)} {errors.format_alternatives(plan.model.name, client.account.provider)}",
        code="model_not_found",
    )


def _check_live(client: OpenAIClient, model: LiveModel, plan: Plan) -> list[str]:
    """Check the day on which a model is shut down."""
    if model.shutdown is None:
        return []
    day = datetime.date.fromisoformat(model.shutdown)
    days = (day - datetime.date.today()).days
    if days <= 0:
        raise ProviderError(
            "closed",
            f"{client.account.name} shut down {model.id} on {day}.",
            errors.format_alternatives(plan.model.name, client.account.provider),
            code="model_shut_down",
        )
    if days * 86_400 > NEAR_S:
        return []
    return [
        f"{client.account.name} shuts down {model.id} on {day}, in {format_count(days, 'day')}, and every"
        + " model tuned from it."
    ]


def _to_day(value: object) -> str | None:
    """Return a date of the platform as ``2027-01-14``: from ISO text or Unix seconds."""
    try:
        if isinstance(value, str):
            return str(datetime.date.fromisoformat(value.strip()[:10]))
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return str(datetime.datetime.fromtimestamp(value, datetime.UTC).date())
    except (ValueError, OverflowError, OSError):
        pass
    return None
