"""Routes of Vertex AI, each under the name of its call."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from tests.doubles.vertex_service import answers
from tests.doubles.vertex_service.checks import check_job
from tests.doubles.vertex_service.errors import ServiceError, refuse_precondition
from tests.doubles.vertex_service.jobs import Job, make_id
from tests.doubles.vertex_service.models import LOCATIONS, VertexModel
from tests.doubles.vertex_service.rewards import try_reward
from tests.doubles.vertex_service.schema import REWARD_TRIAL, check_body
from tests.doubles.vertex_service.state import ServiceState

_VERSION = r"/(?:v1|v1beta1)/"
_PARENT = _VERSION + r"projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)/"
_JOB = _PARENT + r"tuningJobs/(?P<job>[^/:]+)"
_GOOGLE = r"publishers/google/models/(?P<model>[^/:]+)"
_ENDPOINT = _PARENT + r"endpoints/(?P<endpoint>[^/:]+)"


@dataclasses.dataclass
class Call:
    """A request of a route."""

    state: ServiceState
    groups: dict[str, str]
    query: dict[str, list[str]]
    body: Any

    def get(self, name: str, default: str = "") -> str:
        """Return a value of the query."""
        return self.query.get(name, [default])[-1]


@dataclasses.dataclass
class Stream:
    """A reply in chunks."""

    chunks: list[dict[str, Any]]


Action = Callable[[Call], Any]
_ROUTES: list[tuple[str, re.Pattern[str], str, str, Action]] = []


def _route(method: str, path: str, name: str, permission: str = "") -> Callable[[Action], Action]:
    def register(action: Action) -> Action:
        _ROUTES.append((method, re.compile(path), name, permission, action))
        return action

    return register


def find_route(method: str, path: str) -> tuple[str, str, Action, dict[str, str]] | None:
    """Return name, permission, action and the parts of a path; None where there is no route."""
    for each, pattern, name, permission, action in _ROUTES:
        if method == each and (match := pattern.fullmatch(path)):
            return name, permission, action, match.groupdict()
    return None


def check_access(state: ServiceState, groups: dict[str, str], permission: str) -> None:
    """Raise ServiceError for a project, a location or a permission that the caller does not have."""
    scenario = state.scenario
    location, project = groups.get("location"), groups.get("project")
    if location is not None and location not in LOCATIONS:
        text = "The requested URL was not found on this server. <ins>That’s all we know.</ins>"
        raise ServiceError(404, text, html=True)
    consumer = {"service": "aiplatform.googleapis.com", "consumer": f"projects/{project}"}
    if project is not None and project not in (scenario.project, scenario.project_number):
        raise ServiceError(
            403,
            f"Permission denied on resource project {project}.",
            reason="CONSUMER_INVALID",
            metadata=consumer,
        )
    if not scenario.is_enabled:
        raise ServiceError(
            403,
            f"Vertex AI API has not been used in project {scenario.project} before or it is disabled. "
            "Enable it by visiting https://console.developers.google.com/apis/api/"
            f"aiplatform.googleapis.com/overview?project={scenario.project} then retry. If you enabled "
            "this API recently, wait a few minutes for the action to propagate to our systems and retry.",
            reason="SERVICE_DISABLED",
            metadata=consumer,
        )
    if not scenario.has_billing:
        raise ServiceError(
            403,
            "This API method requires billing to be enabled. Please enable billing on project "
            f"#{scenario.project_number} by visiting https://console.developers.google.com/billing/"
            f"enable?project={scenario.project_number} then retry.",
            reason="BILLING_DISABLED",
            metadata=consumer,
        )
    if permission and permission in scenario.denied:
        resource = f"//aiplatform.googleapis.com/projects/{project}/locations/{location}"
        raise ServiceError(
            403,
            f"Permission '{permission}' denied on resource '{resource}' (or it may not exist).",
            reason="IAM_PERMISSION_DENIED",
            metadata={"permission": permission, "resource": resource},
        )


# Jobs


@_route("POST", _PARENT + "tuningJobs", "create_job", "aiplatform.tuningJobs.create")
def create_job(call: Call) -> dict[str, Any]:
    state, location = call.state, call.groups["location"]
    scenario = state.scenario
    model, request = check_job(state, location, call.body)
    job = Job(
        id=make_id(len(state.jobs) + 1),
        number=len(state.jobs) + 1,
        project=scenario.project_number,
        location=location,
        region=scenario.global_region if location == "global" else location,
        model=model,
        request=request,
        hold_at=scenario.pace.hold_at,
        failure=scenario.failure,
    )
    state.jobs[job.name] = job
    return job.write(scenario)


@_route("GET", _PARENT + "tuningJobs", "list_jobs", "aiplatform.tuningJobs.list")
def list_jobs(call: Call) -> dict[str, Any]:
    state, location = call.state, call.groups["location"]
    size = int(call.get("pageSize") or 0) or state.scenario.page_size
    first = int(call.get("pageToken") or 0)
    listed = []
    for job in reversed(state.jobs.values()):
        # A job at ``global`` has a regional twin.
        if location in (job.location, job.region):
            job.lists += 1
            if job.lists > state.scenario.list_delay:
                twin = job.name.replace(f"/{job.location}/", f"/{location}/")
                listed.append({**job.write(state.scenario), "name": twin})
    matches = make_filter(call.get("filter"))
    listed = [record for record in listed if matches(record)]
    last = first + min(size, state.scenario.page_size)
    answer: dict[str, Any] = {"tuningJobs": listed[first:last]} if listed[first:last] else {}
    return {**answer, "nextPageToken": str(last)} if last < len(listed) else answer


def make_filter(text: str) -> Callable[[dict[str, Any]], bool]:
    """Return a test by a filter such as ``state="X" AND labels.a=b``; raise ServiceError."""
    wanted: list[tuple[list[str], str]] = []
    for term in re.split(r"\s+AND\s+", text) if text.strip() else ():
        match = re.fullmatch(r"\s*([\w.-]+)\s*[=:]\s*(\"[^\"]*\"|[^\s\"]+)\s*", term)
        path = match[1].split(".", 1) if match else [""]
        path[0] = re.sub(r"_([a-z])", lambda letter: letter[1].upper(), path[0])
        if match is None or path[0] not in (
            "state",
            "labels",
            "tunedModelDisplayName",
            "baseModel",
        ):
            raise ServiceError(400, f"Invalid filter: {text}", field="filter")
        wanted.append((path, match[2].strip('"')))

    def matches(record: dict[str, Any]) -> bool:
        values = []
        for path, _ in wanted:
            value: Any = record
            for name in path:
                value = value.get(name) if isinstance(value, dict) else None
            values.append(value)
        return all(value == each for value, (_, each) in zip(values, wanted, strict=True))

    return matches


def _get_job(call: Call) -> Job:
    location, number = call.groups["location"], call.groups["job"]
    for job in call.state.jobs.values():
        if job.id == number and location in (job.location, job.region):
            return job
    project = call.state.scenario.project_number
    name = f"projects/{project}/locations/{location}/tuningJobs/{number}"
    raise ServiceError(404, f"TuningJob not found: {name}")


@_route("GET", _JOB, "get_job", "aiplatform.tuningJobs.get")
def get_job(call: Call) -> dict[str, Any]:
    job = _get_job(call)
    call.state.look(job)
    return job.write(call.state.scenario)


@_route("POST", _JOB + ":cancel", "cancel_job", "aiplatform.tuningJobs.cancel")
def cancel_job(call: Call) -> dict[str, Any]:
    job = _get_job(call)
    if call.body:
        raise ServiceError(
            400, 'Invalid JSON payload received. Unknown name "": Cannot find field.'
        )
    if job.has_ended:
        raise refuse_precondition(f"The TuningJob {job.name} is in state {job.state}.")
    call.state.cancel(job)
    return {}


@_route("POST", _PARENT + "tuningJobs:validateReinforcementTuningReward", "validate_reward",
        "aiplatform.tuningJobs.validateReinforcementTuningReward")  # fmt: skip
def validate_reward(call: Call) -> dict[str, Any]:
    if call.groups["location"] != "us-central1":
        raise refuse_precondition(
            "Reinforcement tuning is not available for your project or region."
        )
    return try_reward(check_body(call.body, REWARD_TRIAL))


# Models


@_route("GET", _VERSION + "publishers/google/models", "list_models")
def list_models(call: Call) -> dict[str, Any]:
    models = [model for model in call.state.scenario.models if not model.is_open]
    return {"publisherModels": [_write_model(model) for model in models]}


@_route("GET", _VERSION + _GOOGLE, "get_model")
def get_model(call: Call) -> dict[str, Any]:
    return _write_model(_find_model(call))


def _find_model(call: Call) -> VertexModel:
    name = call.groups["model"]
    for model in call.state.scenario.models:
        if model.id == name:
            return model
    raise _miss_model(f"publishers/google/models/{name}")


def _miss_model(name: str) -> ServiceError:
    return ServiceError(
        404,
        f"Publisher Model `{name}` was not found or your project does not have access to it. Please "
        "ensure you are using a valid model version.",
    )


def _write_model(model: VertexModel) -> dict[str, Any]:
    return {
        "name": f"publishers/google/models/{model.id}",
        "versionId": "default",
        "openSourceCategory": "PROPRIETARY",
        "launchStage": "GA",
        "supportedActions": {},
    }


def _ask_model(call: Call) -> list[dict[str, Any]]:
    model, location = _find_model(call), call.groups["location"]
    if location not in model.asked_at:
        parent = f"projects/{call.state.scenario.project}/locations/{location}"
        raise _miss_model(f"{parent}/publishers/google/models/{model.id}")
    return answers.generate(call.state, model, None, call.body)


_ASK = "aiplatform.endpoints.predict"


@_route("POST", _PARENT + _GOOGLE + ":generateContent", "generate", _ASK)
def generate(call: Call) -> dict[str, Any]:
    return answers.join(_ask_model(call))


@_route("POST", _PARENT + _GOOGLE + ":streamGenerateContent", "generate_stream", _ASK)
def generate_stream(call: Call) -> Stream:
    return Stream(_ask_model(call))


# Tuned models


def _find_endpoint(call: Call) -> tuple[Job, str]:
    """Return job and name of an endpoint, which is only at its own location."""
    location, number = call.groups["location"], call.groups["endpoint"]
    project = call.state.scenario.project_number
    name = f"projects/{project}/locations/{location}/endpoints/{number}"
    for job in call.state.jobs.values():
        if name in job.list_endpoints() and name not in call.state.gone:
            return job, name
    raise ServiceError(404, f"Endpoint `{name}` not found.")


@_route("POST", _ENDPOINT + ":generateContent", "generate", _ASK)
def generate_tuned(call: Call) -> dict[str, Any]:
    job, _ = _find_endpoint(call)
    return answers.join(answers.generate(call.state, job.model, job, call.body))


@_route("POST", _ENDPOINT + ":streamGenerateContent", "generate_stream", _ASK)
def generate_tuned_stream(call: Call) -> Stream:
    job, _ = _find_endpoint(call)
    return Stream(answers.generate(call.state, job.model, job, call.body))


@_route("POST", _ENDPOINT + ":predict", "predict", _ASK)
def predict(call: Call) -> None:
    _find_endpoint(call)
    raise ServiceError(400, "Gemini cannot be accessed through Vertex Predict/RawPredict API.")


@_route(
    "POST", _PARENT + r"models/[^/:]+:(generateContent|streamGenerateContent)", "generate", _ASK
)
def generate_by_model(call: Call) -> None:
    raise ServiceError(
        400, "Invalid resource name: a model resource cannot be asked; use its endpoint."
    )


@_route("GET", _PARENT + "endpoints", "list_endpoints", "aiplatform.endpoints.list")
def list_endpoints(call: Call) -> dict[str, Any]:
    parent = f"/locations/{call.groups['location']}/"
    listed = [
        _write_endpoint(job, name)
        for job in call.state.jobs.values()
        for name in job.list_endpoints()
        if parent in name and name not in call.state.gone
    ]
    return {"endpoints": listed} if listed else {}


@_route("GET", _ENDPOINT, "get_endpoint", "aiplatform.endpoints.get")
def get_endpoint(call: Call) -> dict[str, Any]:
    return _write_endpoint(*_find_endpoint(call))


def _write_endpoint(job: Job, name: str) -> dict[str, Any]:
    model = f"projects/{job.project}/locations/{job.region}/models/{job.id}@1"
    return {
        "name": name,
        "displayName": job.request.get("tunedModelDisplayName", ""),
        "labels": job.request.get("labels", {}),
        "deployedModels": [{"id": job.id, "model": model, "modelVersionId": "1"}],
    }


@_route("DELETE", _ENDPOINT, "delete_endpoint", "aiplatform.endpoints.delete")
def delete_endpoint(call: Call) -> dict[str, Any]:
    _, name = _find_endpoint(call)
    if call.get("force") != "true":
        raise refuse_precondition(f"The endpoint {name} still has deployed models.")
    call.state.gone.add(name)
    return _write_operation(name)


_MODEL = _PARENT + r"models/(?P<model>[^/:]+)"


@_route("GET", _MODEL, "get_tuned_model", "aiplatform.models.get")
def get_tuned_model(call: Call) -> dict[str, Any]:
    job, name = _find_tuned(call)
    return {
        "name": name,
        "versionId": "1",
        "displayName": job.request.get("tunedModelDisplayName", ""),
        "labels": job.request.get("labels", {}),
    }


@_route("DELETE", _MODEL, "delete_tuned_model", "aiplatform.models.delete")
def delete_tuned_model(call: Call) -> dict[str, Any]:
    _, name = _find_tuned(call)
    call.state.gone.add(name)
    return _write_operation(name)


def _find_tuned(call: Call) -> tuple[Job, str]:
    number, location = call.groups["model"].partition("@")[0], call.groups["location"]
    name = f"projects/{call.state.scenario.project_number}/locations/{location}/models/{number}"
    for job in call.state.jobs.values():
        is_it = job.has_model and job.id == number and job.region == location
        if is_it and name not in call.state.gone:
            return job, name
    raise ServiceError(404, f"The Model {name} does not exist.")


def _write_operation(name: str) -> dict[str, Any]:
    return {"name": f"{name}/operations/1", "done": True, "response": {}}
