"""Control of a running service from a test: ``/_control/…`` and its client.

The routes need no key, and no fault strikes them.
"""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

import msgspec

from tests.doubles.aws import jobs, progress, storage
from tests.doubles.aws.scenario import AwsFault, AwsScenario
from tests.doubles.aws.state import AwsRequest, AwsState, BedrockJob

PREFIX = "/_control/"
PATIENCE_S = 60.0


def encode(document: Any) -> bytes:
    return msgspec.json.encode(document)


def respond(state: AwsState, method: str, path: str, body: Any) -> tuple[int, Any]:
    """Return status and document of a request of the test."""
    name, *rest = path.removeprefix(PREFIX).split("/")
    with state.lock:
        progress.pass_time(state)
        if name == "requests":
            return 200, state.requests
        if name == "jobs" and not rest:
            return 200, [describe_job(state, job) for job in state.jobs.values()]
        if name == "jobs":
            job = _get_job(state, rest[0])
            if job is None:
                return 404, {"error": f"no job {rest[0]}"}
            _change_job(state, job, rest[1], body or {})
            return 200, describe_job(state, job)
        if name == "models":
            return 200, [{"name": each.name, "arn": each.arn} for each in state.models.values()]
        if name == "deployments":
            return 200, [
                {"name": each.name, "arn": each.arn, "model": each.model.arn, "status": each.status}
                for each in state.deployments.values()
            ]
        if name == "files":
            return 200, list_files(state)
        if name == "invocations":
            return 200, state.invocations
        if name == "waiting":
            return 200, state.waiting
        if name == "scenario":
            change_scenario(state, body)
        elif name == "faults" and method == "DELETE":
            state.scenario.faults.clear()
        elif name == "faults":
            state.scenario.faults.append(msgspec.convert(body, AwsFault))
        elif name == "release":
            state.release()
        else:
            return 404, {"error": f"no control route {path}"}
    return 200, {}


def describe_job(state: AwsState, job: BedrockJob) -> dict[str, Any]:
    """Return a job with what the service does not tell."""
    document = jobs.write_job(state, job)
    return {**document, "region": job.region, "position": job.position, "request": job.request}


def list_files(state: AwsState) -> list[dict[str, Any]]:
    """Return the objects that clients have uploaded, oldest first."""
    return [
        {"id": uri, "bytes": size, "metadata": metadata}
        for uri, size, metadata in storage.list_objects()
        if uri not in state.written
    ]


def _get_job(state: AwsState, name: str) -> BedrockJob | None:
    if name == "last":
        return next(reversed(state.jobs.values()), None)
    return state.jobs.get(name)


def _change_job(state: AwsState, job: BedrockJob, action: str, body: dict[str, Any]) -> None:
    if action == "advance":
        job.is_held, was_held = False, job.is_held
        for _ in range(body.get("positions", 1)):
            progress.advance(state, job)
        job.is_held = was_held
    elif action in ("hold", "continue"):
        job.is_held = action == "hold"
    elif action == "fail":
        progress.fail(state, job, body["message"])
    elif action == "stop":
        if not job.has_ended:
            job.status = "Stopping"
            for _ in range(state.scenario.stopping_looks + 1):
                progress.advance(state, job)
    elif action == "forget":
        del state.jobs[job.name]


def change_scenario(state: AwsState, changes: dict[str, Any]) -> None:
    """Change fields of the scenario, which hold from the next request on."""
    merged = {**msgspec.to_builtins(state.scenario), **changes}
    changed = msgspec.convert(merged, AwsScenario)
    for name in changes:
        setattr(state.scenario, name, getattr(changed, name))


class AwsControl:
    """A test's view of a service, in this process or another."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def _call(self, method: str, name: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(msgspec.to_builtins(body)).encode()
        request = urllib.request.Request(
            f"{self._endpoint}{PREFIX}{name}",
            data,
            {"Content-Type": "application/json"},
            method=method,
        )
        with self._opener.open(request, timeout=PATIENCE_S) as response:
            return json.load(response)

    def list_requests(self, call: str | None = None) -> list[AwsRequest]:
        """Return all requests, oldest first; with ``call``, those of that name."""
        requests = msgspec.convert(self._call("GET", "requests"), list[AwsRequest])
        return [request for request in requests if call in (None, request.call)]

    def wait_for(self, call: str, count: int = 1) -> list[AwsRequest]:
        """Return the requests of a call as soon as there are so many."""
        end = time.monotonic() + PATIENCE_S
        while len(requests := self.list_requests(call)) < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{len(requests)} requests {call}, not {count}")
            time.sleep(0.02)
        return requests

    def wait_for_held(self, count: int = 1) -> None:
        """Return as soon as faults hold back so many requests."""
        end = time.monotonic() + PATIENCE_S
        while self._call("GET", "waiting") < count:
            if time.monotonic() > end:
                raise TimeoutError("no request is held back")
            time.sleep(0.02)

    def list_jobs(self) -> list[dict[str, Any]]:
        """Return all jobs, oldest first, as the service writes them, each with its ``request``."""
        return list(self._call("GET", "jobs"))

    def list_models(self) -> list[dict[str, Any]]:
        """Return name and ARN of all tuned models, oldest first."""
        return list(self._call("GET", "models"))

    def list_deployments(self) -> list[dict[str, Any]]:
        return list(self._call("GET", "deployments"))

    def list_files(self) -> list[dict[str, Any]]:
        """Return the uploaded objects, oldest first: ``id`` (an address), ``bytes``, ``metadata``."""
        return list(self._call("GET", "files"))

    def list_invocations(self) -> list[tuple[str, Any]]:
        """Return the functions that were called, with their events."""
        return [(name, event) for name, event in self._call("GET", "invocations")]

    def add_fault(self, fault: AwsFault) -> None:
        """Let something go wrong from now on."""
        self._call("POST", "faults", fault)

    def clear_faults(self) -> None:
        """Let nothing go wrong any more."""
        self._call("DELETE", "faults")

    def release(self) -> None:
        """Let the requests that faults hold back go on."""
        self._call("POST", "release", {})

    def change(self, **fields: Any) -> None:
        """Change fields of the scenario."""
        self._call("POST", "scenario", fields)

    def advance(self, positions: int = 1, job: str = "last") -> dict[str, Any]:
        """Move a job on by looks; return it."""
        return dict(self._call("POST", f"jobs/{job}/advance", {"positions": positions}))

    def hold(self, job: str = "last") -> None:
        """Let a job stand still."""
        self._call("POST", f"jobs/{job}/hold", {})

    def continue_job(self, job: str = "last") -> None:
        self._call("POST", f"jobs/{job}/continue", {})

    def fail(self, message: str, job: str = "last") -> None:
        """Let a job fail now."""
        self._call("POST", f"jobs/{job}/fail", {"message": message})

    def stop(self, job: str = "last") -> None:
        """Stop a job, as somebody else would from the console."""
        self._call("POST", f"jobs/{job}/stop", {})

    def forget(self, job: str = "last") -> None:
        """Remove a job, so that the service knows nothing of it."""
        self._call("POST", f"jobs/{job}/forget", {})
