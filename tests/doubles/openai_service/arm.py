"""Deployments of Foundry through Azure Resource Manager, as its REST reference describes them.

They are on the same port, so that ``https://management.azure.com`` can be replaced by the service's
endpoint. The token is not checked beyond being there.
"""

from __future__ import annotations

import re
from typing import Any

from tests.doubles.openai_service.state import ServiceState

ACCOUNT = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.CognitiveServices"
    r"/accounts/[^/]+/deployments(?:/([^/]+))?",
    re.IGNORECASE,
)
SKUS = ("Standard", "GlobalStandard", "DeveloperTier", "ProvisionedManaged", "DataZoneStandard")


def respond(
    state: ServiceState, method: str, path: str, query: dict[str, Any], token: str, body: Any
) -> tuple[int, Any]:
    """Return status and document of a request to Azure Resource Manager."""
    match = ACCOUNT.fullmatch(path)
    if match is None:
        return _error(404, "InvalidResourceType", "The resource type could not be found.")
    if not token:
        return _error(401, "AuthenticationFailed", "The 'Authorization' header is missing.")
    if "api-version" not in query:
        return _error(
            400, "MissingApiVersionParameter", "The api-version query parameter is required."
        )
    name = match[1]
    if name is None:
        return 200, {"value": [_write(state, path, each) for each in state.deployments]}
    if method == "PUT":
        return _put(state, path, name, body)
    if name not in state.deployments:
        return (204, None) if method == "DELETE" else _error(404, "ResourceNotFound", f"No {name}.")
    if method == "DELETE":
        del state.deployments[name]
        return 200, None
    deployment = state.deployments[name]
    deployment["looks"] = deployment.get("looks", 0) + 1
    return 200, _write(state, path.rpartition("/")[0], name)


def _put(state: ServiceState, path: str, name: str, body: Any) -> tuple[int, Any]:
    model = (body or {}).get("properties", {}).get("model") or {}
    sku = (body or {}).get("sku") or {}
    if sku.get("name") not in SKUS:
        return _error(
            400, "InvalidResourceProperties", f"The sku '{sku.get('name')}' is not valid."
        )
    # The format is case-sensitive.
    is_there = state.find_tuned(str(model.get("name"))) or state.find_model(str(model.get("name")))
    if model.get("format") != "OpenAI" or not is_there:
        text = (
            f"The model 'Format:{model.get('format')},Name:{model.get('name')}' is not supported."
        )
        return _error(400, "DeploymentModelNotSupported", text)
    is_new = name not in state.deployments
    state.deployments[name] = {"model": model, "sku": sku, "looks": 0}
    return 201 if is_new else 200, _write(state, path.rpartition("/")[0], name)


def _write(state: ServiceState, folder: str, name: str) -> dict[str, Any]:
    deployment = state.deployments[name]
    is_ready = deployment.get("looks", 1) > 0
    return {
        "id": f"{folder}/{name}",
        "name": name,
        "type": "Microsoft.CognitiveServices/accounts/deployments",
        "sku": deployment.get("sku", {"name": "Standard", "capacity": 1}),
        "properties": {
            "model": deployment["model"],
            "provisioningState": "Succeeded" if is_ready else "Creating",
        },
    }


def _error(status: int, code: str, message: str) -> tuple[int, Any]:
    return status, {"error": {"code": code, "message": message}}
