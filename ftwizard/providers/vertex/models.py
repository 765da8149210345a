"""Models at Vertex AI: ids, what each can be tuned with and where, and until when.

No request shows which models can be tuned in a location, so the catalog decides. One that the catalog does
not know is left to the service.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from ftwizard.catalog.hosted_models import (
    HostedModel,
    check_deprecation,
    find_model,
    list_hosted_models,
)
from ftwizard.plan.schema import Plan, Vertex
from ftwizard.providers.base import LiveModel, ProviderError
from ftwizard.providers.vertex.client import VertexClient
from ftwizard.text import make_visible

PEFT, FULL = "TUNING_MODE_PEFT_ADAPTER", "TUNING_MODE_FULL"
GLOBAL = "global"
MULTI_REGIONS = ("us", "eu")
OLD_GEMINI = ("gemini-1", "gemini-2")
"""Beginnings of the ids of models that answer in the region of their job."""
THINKING_NOTE = (
    "Gemini is tuned without thinking. Base and tuned model are compared with the least thinking."
)


def is_gemini(model: str) -> bool:
    """Return whether a model is one of Google's own, not one with open weights."""
    return "gemini" in model.lower()


def get_model_id(plan: Plan) -> str:
    """Return Google's id of the plan's model, also where the plan has its short name.

    Ids of open models follow no rule, so they come from the catalog and are never built.
    """
    hosted = find_model(plan.model.name, "vertex")
    return (hosted.api or hosted.id) if hosted else plan.model.name


def list_models(client: VertexClient) -> list[LiveModel]:
    """Return the models that the catalog knows, once the login is proved."""
    client.verify_login()
    return [_describe(model) for model in list_hosted_models() if model.platform == "vertex"]


def _describe(model: HostedModel) -> LiveModel:
    lifecycle = check_deprecation(model, datetime.date.today())
    shutdown = lifecycle.ends or lifecycle.until
    return LiveModel(
        id=model.api or model.id,
        tunable=lifecycle.tunable,
        shutdown=str(shutdown.date) if shutdown else None,
    )


def choose_tuning_mode(settings: Vertex, model: str) -> str:
    """Return what of an open model is tuned; empty where only the service knows."""
    if settings.tuning_mode != "auto":
        return settings.tuning_mode
    hosted = find_model(model, "vertex")
    if hosted is None:
        return ""
    return FULL if hosted.full and not hosted.adapter_sizes else PEFT


def check_model(plan: Plan, location: str) -> list[str]:
    """Check model, settings and location against the catalog; return cautions.

    Raises ProviderError where the job could not be created.
    """
    model = get_model_id(plan)
    hosted = find_model(model, "vertex")
    if hosted is None:
        return [_check_unknown(model, location)]
    _check_location(hosted, model, location)
    for setting, problem, hint in _find_problems(plan.vertex, hosted, model):
        raise ProviderError(
            "rejected", f"vertex.{setting} {problem} (as of {hosted.as_of}).", hint, code=setting
        )
    return [THINKING_NOTE] if is_gemini(model) else []


def _check_unknown(model: str, location: str) -> str:
    """Return a caution for a model that is not in the catalog; raise ProviderError if it cannot be one."""
    shown = make_visible(model, 100)
    if not is_gemini(model) and "@" not in model:
        raise ProviderError(
            "missing", f"{shown} is not the id of a model at Vertex AI.",
            f"Ids of open models name a version: publisher/model@version. {hint_models()}",
            code="model_not_found",
        )  # fmt: skip
    if is_gemini(model) and location == GLOBAL:
        raise _refuse_location(shown, location, ("us-central1", "europe-west4"))
    return f"The catalog does not have {shown}, so whether it can be tuned in {location} was not checked."


def hint_models() -> str:
    """Name the models that can be tuned by the catalog."""
    today = datetime.date.today()
    models = [model for model in list_hosted_models("current") if model.platform == "vertex"]
    names = ", ".join(model.id for model in models if check_deprecation(model, today).tunable)
    return f"It can fine-tune: {names}."


def _check_location(hosted: HostedModel, model: str, location: str) -> None:
    is_refused = bool(hosted.regions) and location not in hosted.regions
    if is_refused or (is_gemini(model) and location == GLOBAL):
        raise _refuse_location(hosted.name, location, hosted.regions or ("us-central1",))


def _refuse_location(name: str, location: str, locations: tuple[str, ...]) -> ProviderError:
    return ProviderError(
        "rejected",
        f"Vertex AI tunes {name} in {', '.join(locations)}, not in {make_visible(location, 40)}.",
        f"Set vertex.location to {locations[0]}. The bucket should be in the same place.",
        code="location",
    )


def _find_problems(
    settings: Vertex, hosted: HostedModel, model: str
) -> Iterator[tuple[str, str, str]]:
    """Yield the name of each setting that the model does not have, the problem and the fix."""
    size, sizes = settings.adapter_size, ", ".join(map(str, hosted.adapter_sizes))
    mode = "" if is_gemini(model) else choose_tuning_mode(settings, model)
    if mode == FULL and not hosted.full:
        yield "tuning_mode", f"is {FULL}, which {hosted.name} does not have", f"Set it to {PEFT}."
    if mode == PEFT and not hosted.adapter_sizes:
        yield "tuning_mode", f"is {PEFT}, which {hosted.name} does not have", f"Set it to {FULL}."
    if size == "auto":
        return
    if mode == FULL:
        problem = f"is set, but all weights of {hosted.name} are tuned, without an adapter"
        yield "adapter_size", problem, "Remove it."
    elif sizes and size not in hosted.adapter_sizes:
        yield "adapter_size", f"is {size}, which {hosted.name} does not have", f"Use {sizes}."


def check_life(client: VertexClient, plan: Plan, project: str, location: str) -> list[str]:
    """Look up whether Google still offers a Gemini model; return cautions.

    Raises ProviderError (``closed``) for one that the catalog names as retired and Google does not have.
    """
    model = get_model_id(plan)
    hosted = find_model(model, "vertex")
    why_not = check_deprecation(hosted, datetime.date.today()).why_not if hosted else ""
    if not is_gemini(model):
        return [why_not] if why_not else []
    served = get_serving_location(model, location)
    is_there = _is_offered(client, model, project, served)
    if is_there is False and why_not:
        raise ProviderError(
            "closed", f"Vertex AI does not offer {make_visible(model, 100)} any more. {why_not}",
            hint_models(), code="model_shut_down",
        )  # fmt: skip
    if is_there is False:
        unlisted = f"Vertex AI does not list {make_visible(model, 100)} in {served}."
        return [f"{unlisted} Whether it can be tuned is known only when the job is created."]
    return [why_not] if why_not else []


def _is_offered(client: VertexClient, model: str, project: str, location: str) -> bool | None:
    """Return whether Google lists a model; None if that could not be looked up."""
    sdk = client.connect(project, location)
    try:
        client.call("look up the model", lambda: sdk.models.get(model=model))
    except ProviderError as error:
        if error.kind == "key":
            raise
        return False if error.kind == "missing" else None
    return True


def get_serving_location(model: str, location: str) -> str:
    """Return where an untuned Gemini answers, as near as possible to a model that was tuned in a
    location: newer ones are tuned in a region and answer from its multi-region."""
    if location in MULTI_REGIONS or model.lower().rpartition("/")[2].startswith(OLD_GEMINI):
        return location
    area = location.partition("-")[0]
    return {"us": "us", "europe": "eu"}.get(area, GLOBAL)
