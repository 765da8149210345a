"""What the service holds: jobs, models, deployments, requests, and the faults that are to come."""

from __future__ import annotations

import dataclasses
import threading
import time
import uuid
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from tests.doubles.aws.scenario import ACCOUNT, AwsFault, AwsScenario, BedrockModel

PATIENCE_S = 60.0


class AwsRequest(msgspec.Struct, kw_only=True):
    """A request, as a test reads it."""

    number: int
    service: str
    region: str
    call: str
    method: str
    path: str
    body: Any
    size: int
    attempt: str = ""
    """The SDK's own count, as in ``attempt=2; max=4``."""
    agent: str = ""
    fault: str | None = None
    status: int | None = None


@dataclasses.dataclass
class BedrockJob:
    """A job, with everything that it has reported."""

    name: str
    id: str
    region: str
    request: dict[str, Any]
    base: BedrockModel
    created: datetime
    status: str = "InProgress"
    position: int = 0
    """Looks since its beginning."""
    stopping: int = 0
    modified: datetime | None = None
    ended: datetime | None = None
    advanced: float = dataclasses.field(default_factory=time.monotonic)
    is_held: bool = False
    failure: str = ""
    failed_at: str = ""
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    validation_rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Hyperparameters, with the service's own for those that were not asked for."""
    losses: tuple[float, float] | None = None
    phases: dict[str, tuple[str, datetime]] = dataclasses.field(default_factory=dict)
    """Status and time of its parts: validationDetails, trainingDetails."""
    rewards: tuple[float, float] = (0.0, 1.0)
    """By reinforcement: what the grader gives for a wrong answer and for the right one."""

    @property
    def arn(self) -> str:
        start = f"arn:aws:bedrock:{self.region}:{ACCOUNT}:model-customization-job"
        return f"{start}/{self.base.tuning_id}/{self.id}"

    @property
    def is_reinforced(self) -> bool:
        return bool(self.request["customizationType"] == "REINFORCEMENT_FINE_TUNING")

    @property
    def has_ended(self) -> bool:
        return self.status in ("Completed", "Failed", "Stopped")

    def set_phase(self, name: str, status: str, now: datetime) -> None:
        if self.phases.get(name, ("",))[0] != status:
            self.phases[name] = (status, now)

    def end(self, status: str, now: datetime, failure: str = "") -> None:
        self.status, self.ended, self.modified, self.failure = status, now, now, failure


@dataclasses.dataclass
class CustomModel:
    """A tuned model."""

    name: str
    id: str
    job: BedrockJob
    created: datetime

    @property
    def arn(self) -> str:
        start = f"arn:aws:bedrock:{self.job.region}:{ACCOUNT}:custom-model"
        return f"{start}/{self.job.base.tuning_id}/{self.id}"


@dataclasses.dataclass
class CustomDeployment:
    """A deployment of a tuned model."""

    name: str
    id: str
    model: CustomModel
    created: datetime
    status: str = "Creating"
    looks: int = 0
    failure: str = ""
    asked: deque[float] = dataclasses.field(default_factory=deque)

    @property
    def arn(self) -> str:
        region = self.model.job.region
        return f"arn:aws:bedrock:{region}:{ACCOUNT}:custom-model-deployment/{self.id}"


class AwsState:
    """Everything of a running service."""

    def __init__(self, scenario: AwsScenario | None = None) -> None:
        self.scenario = scenario or AwsScenario()
        self.lock = threading.RLock()
        self.requests: list[AwsRequest] = []
        self.jobs: dict[str, BedrockJob] = {}
        """By name."""
        self.models: dict[str, CustomModel] = {}
        """By name."""
        self.deployments: dict[str, CustomDeployment] = {}
        """By id."""
        self.deployment_tokens: dict[tuple[str, str], str] = {}
        """ARNs of deployments, also of deleted ones, by region and token."""
        self.written: set[str] = set()
        """Addresses of the objects that jobs have written."""
        self.tags: dict[str, list[dict[str, str]]] = {}
        """By ARN."""
        self.invocations: list[tuple[str, Any]] = []
        """Functions that were called, with their events."""
        self.waiting = 0
        """Requests that faults hold back."""
        self._released = threading.Condition(self.lock)
        self._releases = 0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.scenario.clock_offset_s)

    def make_id(self) -> str:
        """Return an id of 12 characters, as those of the service."""
        return uuid.uuid4().hex[:12]

    def take_fault(self, call: str) -> AwsFault | None:
        """Return the fault that strikes a call, and count it."""
        for fault in self.scenario.faults:
            is_rest = fault.on.endswith("*") and call.startswith(fault.on[:-1])
            if fault.times == 0 or not (is_rest or fault.on == call):
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            if fault.times is not None:
                fault.times -= 1
            return fault
        return None

    def wait_for_release(self) -> None:
        """Wait until the control route lets requests go on."""
        with self._released:
            before = self._releases
            self.waiting += 1
            self._released.wait_for(lambda: self._releases != before, PATIENCE_S)
            self.waiting -= 1

    def release(self) -> None:
        with self._released:
            self._releases += 1
            self._released.notify_all()

    def find_model(self, identifier: str) -> CustomModel | None:
        """Return a custom model by its name or ARN."""
        for model in self.models.values():
            if identifier in (model.name, model.arn):
                return model
        return None

    def find_deployment(self, identifier: str) -> CustomDeployment | None:
        """Return a deployment by its name or ARN."""
        for deployment in self.deployments.values():
            if identifier in (deployment.name, deployment.arn):
                return deployment
        return None
