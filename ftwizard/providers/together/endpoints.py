"""Dedicated endpoints at Together, which are billed for as long as a replica runs.

An endpoint groups deployments; a deployment has replicas on billed hardware. A tuned adapter is merged
into its base when it is deployed on its own.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from together import APIError, APIStatusError, NotFoundError, Together

from ftwizard.providers.base import ProviderError
from ftwizard.providers.fields import get_count, get_list, get_text, read_number, read_time
from ftwizard.providers.together.client import to_record
from ftwizard.quantity import Figure, today
from ftwizard.runs.remote import BilledResource

IDLE_MINUTES = 60
"""Without requests for this long, an endpoint that ftwizard made stops by itself."""
STOP_POLL_S = 5.0
"""Between two looks at replicas that end."""
STOP_TIMEOUT_S = 900.0
"""Longest wait for replicas to end, before what they ran in is deleted."""
_UNBILLED = ("DEPLOYMENT_STATE_STOPPED", "DEPLOYMENT_STATE_FAILED")
_MAX_NAME = 48
Hardware = dict[str, float]
"""US dollars per hour of one replica, by the name of the hardware."""


def connect_project(client: Together) -> Together:
    """Return the client with the project of the key, which the endpoints belong to."""
    if client.project_id:
        return client
    identity = client.whoami()
    project = getattr(getattr(identity, "project", None), "id", None)
    if not isinstance(project, str) or not project:
        raise ProviderError(
            "permission", "The key in TOGETHER_API_KEY is not the key of a project.",
            "Use a project key, or set TOGETHER_PROJECT_ID.", code="no_project",
        )  # fmt: skip
    return client.with_options(project_id=project)


def list_endpoints(client: Together) -> list[Mapping[str, Any]]:
    """Return the dedicated endpoints of the project."""
    endpoints = map(to_record, client.endpoints.list())
    return [
        endpoint for endpoint in endpoints
        if endpoint.get("endpointType") in (None, "ENDPOINT_TYPE_DEDICATED")
    ]  # fmt: skip


def read_hardware(client: Together) -> Hardware:
    """Return the prices of the hardware; none where the platform does not list them."""
    try:
        listed = to_record(client.endpoints.hardware.list())
    except NotFoundError:
        return {}
    prices: Hardware = {}
    for item in get_list(listed, "data"):
        cents = read_number(item.get("priceCentsPerHour"))
        for name in (get_text(item, "name"), get_text(item, "id")):
            if name and cents is not None:
                prices[_normalize(name)] = cents / 100
    return prices


def _normalize(hardware: str) -> str:
    """Return the name of a hardware as configs and deployments spell it, with or without its maker."""
    return hardware.lower().replace("nvidia-", "")


def list_billed(sdk: Together) -> list[BilledResource]:
    """Return the endpoints with replicas that are billed."""
    client = connect_project(sdk)
    prices = read_hardware(client)
    resources = (_read_resource(endpoint, prices) for endpoint in list_endpoints(client))
    return [resource for resource in resources if resource is not None]


def _read_resource(endpoint: Mapping[str, Any], prices: Hardware) -> BilledResource | None:
    billed = [item for item in get_list(endpoint, "deployments") if _count_replicas(item)]
    endpoint_id = get_text(endpoint, "id")
    if not billed or endpoint_id is None:
        return None
    hourly = [_price(item, prices) for item in billed]
    listed = [usd for usd in hourly if usd is not None]
    price = _to_figure(sum(listed)) if len(listed) == len(hourly) else None
    return BilledResource(
        id=endpoint_id,
        kind="endpoint",
        model=get_text(endpoint, "name"),
        price=price,
        created=read_time(endpoint.get("createdAt")),
    )


def _count_replicas(deployment: Mapping[str, Any]) -> int:
    """Return how many replicas run or will: at least 1 for a state that is not known to be free."""
    if deployment.get("state") in _UNBILLED:
        return 0
    scaling = deployment.get("autoscaling")
    least = get_count(scaling, "minReplicas") if isinstance(scaling, Mapping) else None
    counts = (
        get_count(deployment, "desiredReplicas"),
        get_count(deployment, "readyReplicas"),
        least,
    )
    return max([count for count in counts if count is not None], default=1)


def _price(deployment: Mapping[str, Any], prices: Hardware) -> float | None:
    hardware = get_text(deployment, "hardware")
    usd = prices.get(_normalize(hardware)) if hardware else None
    return None if usd is None else usd * _count_replicas(deployment)


def _to_figure(usd: float) -> Figure:
    return Figure(
        value=usd, unit="USD per hour", source="Together's list of hardware", as_of=today()
    )


def find_served_name(sdk: Together, model: str) -> str | None:
    """Return the name under which a model answers: its own, or that of an endpoint that is ready."""
    if _answers(sdk, model):
        return model
    with contextlib.suppress(NotFoundError):  # a service without dedicated endpoints
        client = connect_project(sdk)
        return _find_deployed(client, _list_registry_ids(sdk, model))
    return None


def _answers(sdk: Together, model: str) -> bool:
    """Return whether a model is served without a deployment: it is asked for one token."""
    try:
        sdk.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Hi"}], max_tokens=1
        )
    except APIStatusError as error:
        if error.status_code in (401, 403, 408, 429) or error.status_code >= 500:
            raise
        # 404 or code model_not_available: it would have to be deployed. Another refusal of the
        # prompt comes from a model that is there.
        return error.status_code != 404 and _get_code(error) not in (
            "model_not_available", "model_not_found",
        )  # fmt: skip
    return True


def _get_code(error: APIStatusError) -> str:
    body = error.body
    fields = body.get("error", body) if isinstance(body, dict) else {}
    return str(fields.get("code") or "") if isinstance(fields, dict) else ""


def _list_registry_ids(sdk: Together, model: str) -> list[str]:
    """Return the ids under which a tuned or a base model can be deployed, the adapter first."""
    listed = to_record(sdk.fine_tuning.list())
    for item in get_list(listed, "data"):
        job_id = get_text(item, "id")
        if job_id and get_text(item, "model_output_name") == model:
            job = to_record(sdk.fine_tuning.retrieve(job_id))
            names = ("adapter_object_id", "model_object_id")
            return [identity for name in names if (identity := get_text(job, name))]
    supported = sdk.models.list_supported(search=model)
    return [str(item.id) for item in supported if getattr(item, "name", None) == model]


def _find_deployed(client: Together, model_ids: Iterable[str]) -> str | None:
    suffixes = tuple(f"/models/{model_id}" for model_id in model_ids)
    for endpoint in list_endpoints(client):
        for deployment in get_list(endpoint, "deployments"):
            model = (get_text(deployment, "model") or "").partition("/revisions/")[0]
            is_ready = deployment.get("state") == "DEPLOYMENT_STATE_READY" or get_count(
                deployment, "readyReplicas"
            )
            if suffixes and model.endswith(suffixes) and is_ready:
                return get_text(endpoint, "name")
    return None


def create_endpoint(sdk: Together, model: str, idle_minutes: int = IDLE_MINUTES) -> BilledResource:
    """Deploy a model on the cheapest hardware that runs it, and return what is billed from now on.

    Nothing is sent twice, and a model that is deployed already is not deployed again. If the
    deployment is not created, its endpoint is deleted. Raises ProviderError (``missing``) if no
    hardware runs the model.
    """
    client = connect_project(sdk)
    creator = client.with_options(max_retries=0)
    model_id, config, usd = _choose_config(client, model, _list_registry_ids(sdk, model))
    name = make_name(model)
    endpoint = _find_by_name(client, name)
    if endpoint is not None:
        if billed := _read_resource(endpoint, read_hardware(client)):
            return billed
        if get_list(endpoint, "deployments"):  # stopped by itself, and holds their names
            delete_endpoint(client, str(endpoint["id"]))
            endpoint = None
    if endpoint is None:
        endpoint = to_record(creator.endpoints.create(name=name))
    endpoint_id = str(endpoint["id"])
    try:
        deployment = creator.endpoints.deployments.create(
            endpoint_id,
            name=f"{name}-1",
            model=f"projects/{client.project_id}/models/{model_id}",
            config=config,
            autoscaling={"min_replicas": 1, "max_replicas": 1},
            inactive_timeout=idle_minutes,
        )
        client.endpoints.update(
            endpoint_id,
            traffic_split=[{"deployment_id": deployment.id, "weight": 1}],
            update_mask="trafficSplit",
        )
    except APIError:
        _undo(client, endpoint_id)
        raise
    return BilledResource(
        id=endpoint_id, kind="endpoint", model=get_text(endpoint, "name"), created=time.time(),
        price=None if usd is None else _to_figure(usd),
    )  # fmt: skip


def quote(sdk: Together, model: str) -> BilledResource:
    """Return the endpoint that ``create_endpoint`` would make, with its price; nothing is created."""
    client = connect_project(sdk)
    _, _, usd = _choose_config(client, model, _list_registry_ids(sdk, model))
    return BilledResource(
        kind="endpoint", name=make_name(model), price=None if usd is None else _to_figure(usd)
    )


def _find_by_name(client: Together, name: str) -> Mapping[str, Any] | None:
    """Return an endpoint that an earlier attempt made."""
    for endpoint in list_endpoints(client):
        if (get_text(endpoint, "name") or "").rpartition("/")[2] == name:
            return endpoint
    return None


def _undo(client: Together, endpoint_id: str) -> None:
    """Delete an endpoint whose deployment failed; raise ProviderError if that fails, too."""
    try:
        delete_endpoint(client, endpoint_id)
    except (APIError, ProviderError):
        raise ProviderError(
            "unreachable", f"Endpoint {endpoint_id} was not set up, and could not be deleted: it may "
            "be billed.", "Delete it at https://api.together.ai/endpoints.",
            code="endpoint_left", may_have_acted=True,
        ) from None  # fmt: skip


def make_name(model: str) -> str:
    """Return a name for the endpoint of a model: its last words, which differ between jobs."""
    words = re.findall(r"[a-z0-9]+", model.rpartition("/")[2].lower())
    while len(words) > 1 and len("-".join(words)) > _MAX_NAME:
        words.pop(0)
    return "-".join(words)[-_MAX_NAME:]


def _choose_config(
    client: Together, model: str, model_ids: Iterable[str]
) -> tuple[str, str, float | None]:
    """Return the registry id, the config with the lowest price, and its US dollars per hour."""
    prices = read_hardware(client)
    choices = []
    for model_id in model_ids:
        reference = f"projects/{client.project_id}/models/{model_id}"
        for config in client.models.configs.list(reference_model=reference):
            record = to_record(config)
            selectors = {
                item.get("key"): item.get("value") for item in get_list(record, "selectors")
            }
            hardware = f"{selectors.get('accelerator_count')}x{selectors.get('accelerator_type')}"
            path = f"projects/{config.project_id}/configs/{config.id}"
            choices.append((model_id, path, prices.get(_normalize(hardware))))
    if not choices:
        raise ProviderError(
            "missing", f"Together has no hardware for a dedicated endpoint of {model}.",
            "Download the adapter, merge it, and serve it elsewhere.", code="not_deployable",
        )  # fmt: skip
    return min(choices, key=lambda choice: float("inf") if choice[2] is None else choice[2])


def delete_endpoint(sdk: Together, endpoint_id: str) -> None:
    """Stop the replicas of an endpoint, then delete its deployments and itself.

    What is gone already is not an error. Raises ProviderError if the replicas do not end in time.
    """
    client = connect_project(sdk)
    try:
        endpoint = to_record(client.endpoints.retrieve(endpoint_id))
    except NotFoundError:
        return
    ids = [name for item in get_list(endpoint, "deployments") if (name := get_text(item, "id"))]
    if ids:
        client.endpoints.update(endpoint_id, traffic_split=[], update_mask="trafficSplit")
    for deployment_id in ids:
        _stop(client, endpoint_id, deployment_id)
    for deployment_id in ids:
        _delete_deployment(client, endpoint_id, deployment_id)
    with contextlib.suppress(NotFoundError):
        client.endpoints.delete(endpoint_id)


def _stop(client: Together, endpoint_id: str, deployment_id: str) -> None:
    """Let the replicas of a deployment end."""
    with contextlib.suppress(NotFoundError):
        client.endpoints.deployments.update(
            deployment_id,
            endpoint_id=endpoint_id,
            autoscaling={"min_replicas": 0, "max_replicas": 0},
            update_mask="autoscaling",
        )


def _delete_deployment(client: Together, endpoint_id: str, deployment_id: str) -> None:
    """Delete a deployment once its replicas have ended."""
    for _ in range(max(1, int(STOP_TIMEOUT_S / STOP_POLL_S))):
        try:
            deployment = client.endpoints.deployments.retrieve(
                deployment_id, endpoint_id=endpoint_id
            )
        except NotFoundError:
            return
        if deployment.status.state in _UNBILLED:
            with contextlib.suppress(NotFoundError):
                client.endpoints.deployments.delete(deployment_id, endpoint_id=endpoint_id)
            return
        time.sleep(STOP_POLL_S)
    raise ProviderError(
        "unreachable",
        f"The replicas of endpoint {endpoint_id} are still ending.",
        "Try again in a while: the endpoint is deleted then.",
        code="still_stopping",
    )
