"""Dedicated endpoints of the double: the registry, hardware, configs, endpoints and deployments."""

from __future__ import annotations

import datetime
import re
import uuid
from typing import Any

from tests.doubles.together_service.answer import V2Refusal
from tests.doubles.together_service.scenario import Scenario

PROJECT, PLATFORM_PROJECT, SLUG = "proj_acme", "proj_platform", "acme"
HARDWARE = {"1xnvidia-h100-80gb": 1.0, "2xnvidia-h100-80gb": 2.0}
"""Multiples of the price of an hour."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def list_hardware(scenario: Scenario) -> list[dict[str, Any]]:
    return [
        {
            "id": f"it_{name[0]}h100", "name": name, "description": name, "gpuCount": int(name[0]),
            "gpuMemoryGib": 80, "gpuType": "nvidia-h100-80gb", "regions": [{"name": "us-central"}],
            "priceCentsPerHour": round(scenario.cents_per_hour * factor),
        }
        for name, factor in HARDWARE.items()
    ]  # fmt: skip


def list_configs(model_id: str) -> list[dict[str, Any]]:
    """Return the configs of a model, the dearer first."""
    return [
        {
            "id": f"cr_{count}", "projectId": PLATFORM_PROJECT, "certifications": [],
            "referenceModel": f"projects/{PROJECT}/models/{model_id}", "referenceModelId": model_id,
            "selectors": [
                {"key": "accelerator_type", "value": "nvidia-h100-80gb"},
                {"key": "accelerator_count", "value": str(count)},
            ],
        }
        for count in (2, 1)
    ]  # fmt: skip


class Deployment:
    def __init__(self, endpoint: str, body: dict[str, Any], scenario: Scenario) -> None:
        self.id = f"dep_{uuid.uuid4().hex[:12]}"
        self.name, self.endpoint, self.scenario = f"{endpoint}/{body['name']}", endpoint, scenario
        self.model, self.config = body["model"], body["config"]
        self.idle_minutes = body.get("inactiveTimeout", 0)
        count = self.config.rpartition("cr_")[2]
        self.hardware = f"{count}xnvidia-h100-80gb"
        self.replicas = body["autoscaling"].get("minReplicas", 1)
        self.looks = 0

    @property
    def state(self) -> str:
        if self.scenario.deployment_failure:
            return "DEPLOYMENT_STATE_FAILED"
        is_settled = self.looks > self.scenario.deployment_polls
        if self.replicas:
            return "DEPLOYMENT_STATE_READY" if is_settled else "DEPLOYMENT_STATE_PROVISIONING"
        return "DEPLOYMENT_STATE_STOPPED" if is_settled else "DEPLOYMENT_STATE_STOPPING"

    def scale(self, replicas: int) -> None:
        if replicas != self.replicas:
            self.replicas, self.looks = replicas, 0

    def summary(self) -> dict[str, Any]:
        return {
            "id": self.id, "name": self.name, "model": f"{self.model}/revisions/rv_1",
            "modelId": self.model.rpartition("/")[2], "state": self.state,
            "createdAt": now(), "hardware": self.hardware, "trafficMode": "TRAFFIC_MODE_LIVE",
            "autoscaling": {"minReplicas": self.replicas, "maxReplicas": self.replicas},
            "desiredReplicas": self.replicas, "estimatedEffectiveTrafficShare": 1.0,
            "readyReplicas": self.replicas if self.state == "DEPLOYMENT_STATE_READY" else 0,
        }  # fmt: skip

    def whole(self) -> dict[str, Any]:
        message = self.scenario.deployment_failure or ""
        return self.summary() | {
            "config": self.config, "projectId": PROJECT, "endpointId": self.endpoint, "etag": "1",
            "status": {"state": self.state, "message": message}, "inactiveTimeout": self.idle_minutes,
        }  # fmt: skip


class EndpointRecord:
    def __init__(self, name: str) -> None:
        self.id = f"ep_{uuid.uuid4().hex[:12]}"
        self.name = f"{SLUG}/{name}"
        self.created = now()
        self.deployments: dict[str, Deployment] = {}
        self.split: list[dict[str, Any]] = []

    def whole(self) -> dict[str, Any]:
        return {
            "id": self.id, "name": self.name, "createdAt": self.created, "updatedAt": self.created,
            "endpointType": "ENDPOINT_TYPE_DEDICATED", "etag": "1", "projectId": PROJECT,
            "visibility": "VISIBILITY_PRIVATE", "trafficSplit": self.split,
            "deployments": [item.summary() for item in self.deployments.values()],
        }  # fmt: skip

    @property
    def ready(self) -> list[Deployment]:
        """Deployments that answer: ready, and in the traffic split."""
        routed = {entry["deploymentId"] for entry in self.split if entry["weight"]}
        return [
            item for item in self.deployments.values()
            if item.id in routed and item.state == "DEPLOYMENT_STATE_READY"
        ]  # fmt: skip


class Registry:
    """The endpoints of the project."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.endpoints: dict[str, EndpointRecord] = {}

    def get(self, endpoint_id: str) -> EndpointRecord:
        if endpoint_id not in self.endpoints:
            raise V2Refusal(404, f"endpoint {endpoint_id} not found", 5)
        return self.endpoints[endpoint_id]

    def get_deployment(self, endpoint_id: str, deployment_id: str) -> Deployment:
        endpoint = self.get(endpoint_id)
        if deployment_id not in endpoint.deployments:
            raise V2Refusal(404, f"deployment {deployment_id} not found", 5)
        return endpoint.deployments[deployment_id]

    def create(self, body: dict[str, Any]) -> EndpointRecord:
        name = str(body.get("name", ""))
        if not _NAME.fullmatch(name):
            raise V2Refusal(400, f"invalid endpoint name {name!r}")
        if any(endpoint.name == f"{SLUG}/{name}" for endpoint in self.endpoints.values()):
            raise V2Refusal(409, f"endpoint {name} already exists", 6)
        endpoint = EndpointRecord(name)
        self.endpoints[endpoint.id] = endpoint
        return endpoint

    def update(self, endpoint_id: str, body: dict[str, Any], mask: str) -> EndpointRecord:
        endpoint = self.get(endpoint_id)
        if not body.get("trafficSplit") and mask != "trafficSplit":
            raise V2Refusal(400, "no fields to update")
        split = body.get("trafficSplit", [])
        for entry in split:
            self.get_deployment(endpoint_id, entry["deploymentId"])
        endpoint.split = split
        return endpoint

    def delete(self, endpoint_id: str) -> None:
        if self.get(endpoint_id).deployments:
            raise V2Refusal(400, "endpoint has deployments; delete them first", 9)
        del self.endpoints[endpoint_id]

    def deploy(self, endpoint_id: str, body: dict[str, Any], model_ids: set[str]) -> Deployment:
        endpoint = self.get(endpoint_id)
        scaling = body.get("autoscaling") or {}
        if not scaling.get("minReplicas") and scaling.get("maxReplicas"):
            raise V2Refusal(400, "minReplicas must be at least 1")
        idle = body.get("inactiveTimeout", 0)
        if idle and not 30 <= idle <= 1440:
            raise V2Refusal(400, "inactiveTimeout must be 0 or 30 through 1440")
        if str(body.get("model", "")).rpartition("/")[2] not in model_ids:
            raise V2Refusal(404, f"model {body.get('model')} not found", 5)
        deployment = Deployment(endpoint.name, body, self.scenario)
        endpoint.deployments[deployment.id] = deployment
        return deployment

    def scale(self, endpoint_id: str, deployment_id: str, body: dict[str, Any]) -> Deployment:
        deployment = self.get_deployment(endpoint_id, deployment_id)
        deployment.scale(body["autoscaling"]["minReplicas"])
        return deployment

    def undeploy(self, endpoint_id: str, deployment_id: str) -> None:
        deployment = self.get_deployment(endpoint_id, deployment_id)
        if deployment.state not in ("DEPLOYMENT_STATE_STOPPED", "DEPLOYMENT_STATE_FAILED"):
            raise V2Refusal(400, "deployment must be stopped before it is deleted", 9)
        endpoint = self.get(endpoint_id)
        if any(entry["deploymentId"] == deployment_id for entry in endpoint.split):
            raise V2Refusal(400, "deployment is in the traffic split", 9)
        del endpoint.deployments[deployment_id]

    def look(self) -> None:
        """Let one look at the deployments pass."""
        for endpoint in self.endpoints.values():
            for deployment in endpoint.deployments.values():
                deployment.looks += 1


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
