"""Control of a running service from a test: ``/_control/…`` and its client.

The routes need no key, and no fault strikes them.
"""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

import msgspec

from tests.doubles.openai_service.contract import Violation
from tests.doubles.openai_service.errors import ServiceError
from tests.doubles.openai_service.routes import write_job
from tests.doubles.openai_service.scenario import Fault, JobFailure, Scenario
from tests.doubles.openai_service.state import Job, Request, ServiceState

PREFIX = "/_control/"
PATIENCE_S = 60.0


def respond(state: ServiceState, method: str, path: str, body: Any) -> tuple[int, Any]:
    """Return status and document of a request of the test."""
    name, *rest = path.removeprefix(PREFIX).split("/")
    with state.lock:
        state.pass_time()
        if name == "requests":
            return 200, state.requests
        if name == "violations":
            violations = list(state.violations)
            if method == "DELETE":
                state.violations.clear()
            return 200, violations
        if name == "jobs" and not rest:
            return 200, [describe_job(state, job) for job in state.jobs.values()]
        if name == "jobs":
            job = _get_job(state, rest[0])
            if job is None:
                return 404, {"error": f"no job {rest[0]}"}
            try:
                _change_job(state, job, rest[1], body or {})
            except ServiceError as error:
                return error.status, error.write(state.foundry)
            return 200, describe_job(state, job)
        if name == "files":
            return 200, [state.write_file(file) for file in state.files.values()]
        if name == "deployments":
            state.deployments.update(body or {})
            return 200, state.deployments
        if name == "waiting":
            return 200, state.waiting
        if name == "scenario":
            change_scenario(state, body)
        elif name == "faults" and method == "DELETE":
            state.scenario.faults.clear()
        elif name == "faults":
            state.scenario.faults.append(msgspec.convert(body, Fault))
        elif name == "release":
            state.release()
        else:
            return 404, {"error": f"no control route {path}"}
    return 200, {}


def describe_job(state: ServiceState, job: Job) -> dict[str, Any]:
    """Return a job with what the service does not tell."""
    return {
        **write_job(state, job),
        "request": job.request,
        "step": job.step,
        "total_steps": job.total_steps,
        "is_held": job.is_held,
    }


def _get_job(state: ServiceState, job_id: str) -> Job | None:
    if job_id == "last":
        return next(reversed(state.jobs.values()), None)
    return state.jobs.get(job_id)


def _change_job(state: ServiceState, job: Job, action: str, body: dict[str, Any]) -> None:
    if action == "advance":
        was_held, job.is_held = job.is_held, False
        state.advance(job, body.get("positions", 1))
        job.is_held = job.is_held or was_held
    elif action == "hold":
        job.is_held = True
    elif action == "continue":
        job.is_held, job.hold_at = False, None
    elif action == "fail":
        state.fail(job, msgspec.convert(body, JobFailure))
    elif action == "cancel":
        state.cancel(job)
    elif action == "pause":
        state.pause(job)
    elif action == "resume":
        state.resume(job)
    elif action == "forget":
        del state.jobs[job.id]


def change_scenario(state: ServiceState, changes: dict[str, Any]) -> None:
    """Change fields of the scenario, which hold from the next request on."""
    merged = {**msgspec.to_builtins(state.scenario), **changes}
    changed = msgspec.convert(merged, Scenario)
    for name in changes:
        setattr(state.scenario, name, getattr(changed, name))


class Control:
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

    def list_requests(self, route: str | None = None) -> list[Request]:
        """Return all requests, oldest first; with ``route``, those of it."""
        requests = msgspec.convert(self._call("GET", "requests"), list[Request])
        return [request for request in requests if route in (None, request.route)]

    def wait_for(self, route: str, count: int = 1) -> list[Request]:
        """Return the requests of a route as soon as there are so many."""
        end = time.monotonic() + PATIENCE_S
        while len(requests := self.list_requests(route)) < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{len(requests)} requests {route}, not {count}")
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
        """Return all jobs, oldest first, with ``step``, ``total_steps`` and the ``request``."""
        return list(self._call("GET", "jobs"))

    def list_files(self) -> list[dict[str, Any]]:
        """Return all files, oldest first."""
        return list(self._call("GET", "files"))

    def deploy(self, name: str, model: str) -> None:
        """Deploy a model at Foundry, as its owner would with the Azure CLI."""
        self._call("POST", "deployments", {name: model})

    def list_violations(self) -> list[Violation]:
        """Return what did not follow the official document."""
        return msgspec.convert(self._call("GET", "violations"), list[Violation])

    def take_violations(self) -> list[Violation]:
        """Return and forget what did not follow the official document."""
        return msgspec.convert(self._call("DELETE", "violations"), list[Violation])

    def add_fault(self, fault: Fault) -> None:
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

    def wind_down(self) -> None:
        """Close the service to new jobs of this organization."""
        self.change(closed=True)

    def advance(self, positions: int = 1, job: str = "last") -> dict[str, Any]:
        """Move a job on: validated, started, then step by step, then to its end; return it."""
        return dict(self._call("POST", f"jobs/{job}/advance", {"positions": positions}))

    def hold(self, job: str = "last") -> None:
        """Stop a job's clock."""
        self._call("POST", f"jobs/{job}/hold", {})

    def continue_job(self, job: str = "last") -> None:
        """Start a job's clock again."""
        self._call("POST", f"jobs/{job}/continue", {})

    def fail(self, failure: JobFailure, job: str = "last") -> None:
        """Let a job fail now."""
        self._call("POST", f"jobs/{job}/fail", failure)

    def cancel(self, job: str = "last") -> None:
        """Cancel a job, as somebody else would from the dashboard."""
        self._call("POST", f"jobs/{job}/cancel", {})

    def pause(self, job: str = "last") -> None:
        """Pause a job, as somebody else would."""
        self._call("POST", f"jobs/{job}/pause", {})

    def resume(self, job: str = "last") -> None:
        """Resume a job, as somebody else would."""
        self._call("POST", f"jobs/{job}/resume", {})

    def forget(self, job: str = "last") -> None:
        """Remove a job, so that the service knows nothing of it."""
        self._call("POST", f"jobs/{job}/forget", {})
