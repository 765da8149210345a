"""Models at Bedrock: those that a region tunes, until when, and how many jobs fit at a time."""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ftwizard.catalog.hosted_models import (
    HostedModel,
    check_deprecation,
    find_listed,
    find_model,
    list_hosted_models,
)
from ftwizard.plan.schema import Plan
from ftwizard.providers.base import LiveModel, ProviderError
from ftwizard.providers.bedrock.client import BedrockClient
from ftwizard.providers.bedrock.errors import QUOTA_PAGE
from ftwizard.providers.bedrock.request import REINFORCEMENT
from ftwizard.providers.fields import read_number
from ftwizard.text import format_count, make_visible

NEAR_S = 180 * 86_400
"""An end within this time is worth a caution."""
SUPERVISED = "FINE_TUNING"
MAX_LISTED = 1_000
"""Jobs of a page."""
_CONTEXT = re.compile(r":\d+k\Z")
"""End of the id that a model is tuned by: its context."""
_JOBS_QUOTA = re.compile(r"scheduled customization jobs", re.IGNORECASE)
_CUSTOM = re.compile(r"arn:aws[a-z-]*:bedrock:([a-z0-9-]+):\d{12}:custom-model/.+\Z")
_FOUNDATION = re.compile(r"arn:aws[a-z-]*:bedrock:[a-z0-9-]+::foundation-model/(.+)\Z")


def get_model_id(plan: Plan) -> str:
    """Return the id that jobs name the plan's model by, also where the plan has its short name."""
    name = plan.model.name.strip()
    hosted = find_model(name, "bedrock")
    return (hosted.api or name) if hosted else name


def get_region(arn: str) -> str | None:
    """Return the region of a tuned model; None for another id."""
    match = _CUSTOM.match(arn)
    return match[1] if match else None


def get_foundation(arn: str) -> str:
    """Return the id of a foundation model from its ARN; another id is returned as it is."""
    match = _FOUNDATION.match(arn)
    return match[1] if match else arn


def get_base(model: str) -> str:
    """Return the id under which a model answers from that under which it is tuned."""
    return _CONTEXT.sub("", get_foundation(model))


def list_models(client: BedrockClient) -> list[LiveModel]:
    """Return the models of the regions that tune any; raise ProviderError for wrong credentials."""
    client.identify()
    models: dict[str, LiveModel] = {}
    refusals: list[ProviderError] = []
    regions = client.list_search_regions()
    for region in regions:
        try:
            for item in _list_foundation_models(client, region):
                model = convert_model(item)
                if model.id not in models or model.tunable:
                    models[model.id] = model
        except ProviderError as error:
            if error.kind != "permission":
                raise
            refusals.append(error)
    if len(refusals) == len(regions):
        raise refusals[0]
    return list(models.values())


def _list_foundation_models(client: BedrockClient, region: str) -> list[Mapping[str, Any]]:
    bedrock = client.connect("bedrock", region)
    return list(client.iterate("list the models", bedrock.list_foundation_models, "modelSummaries"))


def convert_model(item: Mapping[str, Any]) -> LiveModel:
    """Return a model as the platform lists it.

    Its list does not say which models are tuned with reinforcement, so the catalog counts as well.
    """
    model_id = make_visible(str(item.get("modelId") or ""), 200)
    methods = item.get("customizationsSupported")
    hosted = find_listed(model_id, "bedrock")
    is_reinforced = hosted is not None and "reinforcement" in hosted.methods
    lifecycle = item.get("modelLifecycle")
    lifecycle = lifecycle if isinstance(lifecycle, Mapping) else {}
    end = lifecycle.get("endOfLifeTime")
    return LiveModel(
        id=model_id,
        tunable=(isinstance(methods, list) and SUPERVISED in methods) or is_reinforced,
        shutdown=_to_day(end),
    )


def _to_day(value: object) -> str | None:
    if isinstance(value, datetime.datetime):
        return str(value.date())
    try:
        return str(datetime.date.fromisoformat(value[:10])) if isinstance(value, str) else None
    except ValueError:
        return None


def check_region(plan: Plan, region: str) -> None:
    """Raise ProviderError for a region that does not tune the plan's model.

    It is never changed for the user: it is where the rows are.
    """
    hosted = find_listed(plan.model.name, "bedrock")
    regions = hosted.regions if hosted else ()
    own = get_region(plan.model.name)
    if own is not None:
        regions = (own,)
    if regions and region not in regions:
        name = hosted.name if hosted else "This model"
        raise ProviderError(
            "rejected",
            f"{make_visible(name, 100)} is tuned in {' or '.join(regions)}, not in"
            f" {make_visible(region, 40)}.",
            f"Set bedrock.region to {regions[0]}, with a bucket there, or choose another model.",
            code="region",
        )


def check_model(client: BedrockClient, plan: Plan, region: str) -> list[str]:
    """Check that the region tunes the plan's model, and how long; return cautions."""
    name = get_model_id(plan)
    hosted = find_listed(plan.model.name, "bedrock")
    cautions = _describe_lifecycle(hosted)
    if get_region(name) is not None:
        return cautions + _check_tuned(client, name, region)
    try:
        listed = {
            str(item.get("modelId")): item for item in _list_foundation_models(client, region)
        }
    except ProviderError as error:
        if error.kind != "permission":
            raise
        shown = make_visible(name, 100)
        return [
            *cautions,
            f"The models of {region} could not be listed, so {shown} was not checked.",
        ]
    item = listed.get(get_foundation(name))
    if item is None:
        raise ProviderError(
            "missing",
            f"Bedrock in {region} does not list {make_visible(name, 100)} for this account.",
            hint_models(region),
            code="model_not_found",
        )
    return [
        *cautions,
        *_check_listed(item, plan, region),
        *_check_access(client, name, region),
    ]


def _describe_lifecycle(hosted: HostedModel | None) -> list[str]:
    """Return what the catalog knows of the end of a model, and whether a tuned one can be asked."""
    if hosted is None:
        return []
    lifecycle = check_deprecation(hosted, datetime.date.today())
    cautions = [lifecycle.why_not] if lifecycle.why_not else []
    if not hosted.on_demand:
        cautions.append(describe_deployment(hosted.name))
    return cautions


def describe_deployment(name: str) -> str:
    """Say that a tuned model cannot be asked without a price by the hour."""
    others = [
        model.name for model in list_hosted_models("current")
        if model.platform == "bedrock" and model.on_demand
    ]  # fmt: skip
    return (
        f"Bedrock answers with a tuned {name} only by provisioned throughput, which is billed by the hour"
        " and which ftwizard never buys: it can be trained, but not be evaluated or asked here."
        f" On demand, without a price by the hour: {', '.join(others)}."
    )


def _check_listed(item: Mapping[str, Any], plan: Plan, region: str) -> list[str]:
    """Check the methods and the end of a model that is listed."""
    model = convert_model(item)
    methods = item.get("customizationsSupported")
    is_supervised = plan.bedrock.customizationType != REINFORCEMENT
    if is_supervised and isinstance(methods, list) and SUPERVISED not in methods:
        raise ProviderError(
            "rejected",
            f"Bedrock in {region} lists {model.id}, but does not tune it.",
            hint_models(region),
            code="not_tunable",
        )
    if model.shutdown is None:
        return []
    day = datetime.date.fromisoformat(model.shutdown)
    days = (day - datetime.date.today()).days
    if days <= 0:
        raise ProviderError(
            "closed", f"Bedrock shut down {model.id} on {day}.", hint_models(region),
            code="model_shut_down",
        )  # fmt: skip
    if days * 86_400 > NEAR_S:
        return []
    return [f"Bedrock shuts down {model.id} on {day}, in {format_count(days, 'day')}."]


def _check_tuned(client: BedrockClient, arn: str, region: str) -> list[str]:
    """Check a tuned model that another job is to continue from."""
    bedrock = client.connect("bedrock", region)
    answer = client.call(
        "look up the tuned model",
        functools.partial(bedrock.get_custom_model, modelIdentifier=arn),
        model=arn,
    )
    status = answer.get("modelStatus")
    if status in (None, "Active"):
        return []
    raise ProviderError(
        "rejected",
        f"The tuned model {make_visible(arn, 150)} is {make_visible(str(status), 40)}, not Active.",
        "Wait until it is, or begin from the base model.",
        code="model_not_active",
    )


def _check_access(client: BedrockClient, name: str, region: str) -> list[str]:
    """Return a caution if the account has no access to a model; none where that is not readable."""
    bedrock = client.connect("bedrock", region)
    base = get_base(name)
    try:
        answer = client.call(
            "look up the access to the model",
            functools.partial(bedrock.get_foundation_model_availability, modelId=base),
        )
    except ProviderError as error:
        if error.kind == "key":
            raise
        return []
    agreement = answer.get("agreementAvailability")
    status = agreement.get("status") if isinstance(agreement, Mapping) else None
    is_denied = answer.get("authorizationStatus") == "NOT_AUTHORIZED"
    if status in (None, "AVAILABLE") and not is_denied:
        return []
    caution = (
        f"This account has no access to {make_visible(base, 100)} yet. Ask for it in the Bedrock"
        f" console of {region}, under Model access."
    )
    return [caution]


def check_quota(client: BedrockClient, region: str) -> list[str]:
    """Return a caution if as many jobs run as the account may have; none where that is not readable.

    Raises ProviderError (``quota``) if it may have none.
    """
    bedrock = client.connect("bedrock", region)
    running_jobs = functools.partial(
        bedrock.list_model_customization_jobs, statusEquals="InProgress", maxResults=MAX_LISTED
    )
    try:
        running = list(
            client.iterate("list the jobs", running_jobs, "modelCustomizationJobSummaries")
        )
        limits = [value for name, value in list_quotas(client, region) if _JOBS_QUOTA.search(name)]
    except ProviderError as error:
        if error.kind == "key":
            raise
        return []
    limit = min(limits, default=None)
    if limit is None or len(running) < limit:
        return []
    if limit < 1:
        raise ProviderError(
            "quota",
            f"The quota of this account for jobs in {make_visible(region, 40)} is 0, so none can be"
            " created.",
            f"Ask for more at {QUOTA_PAGE}.",
            code="quota",
        )
    verb = "is" if len(running) == 1 else "are"
    caution = (
        f"{format_count(len(running), 'job')} of this account {verb} in progress in {region}, and its"
        f" quota is {limit:.0f}. Another may be refused."
    )
    return [caution]


def list_quotas(client: BedrockClient, region: str) -> Iterator[tuple[str, float]]:
    """Yield the name and the value of each quota of Bedrock."""
    quotas = client.connect("service-quotas", region)
    request = functools.partial(quotas.list_service_quotas, ServiceCode="bedrock")
    for quota in client.iterate("read the quotas", request, "Quotas", "NextToken"):
        value = read_number(quota.get("Value"))
        if value is not None:
            yield str(quota.get("QuotaName")), value


def hint_models(region: str) -> str:
    """Name the models that a region tunes by the catalog."""
    names = [
        model.id for model in list_hosted_models("current")
        if model.platform == "bedrock" and region in model.regions
    ]  # fmt: skip
    if names:
        return f"It can fine-tune: {', '.join(names)}."
    return "Nova is tuned in us-east-1, Llama in us-west-2: set bedrock.region."
