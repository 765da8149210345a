"""Control of a running double from a test: ``/_control/…`` and its client.

The routes need no login, and no fault strikes them.
"""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

import msgspec

from tests.doubles.openai_service.scenario import Fault
from tests.doubles.vertex_service.jobs import Job
from tests.doubles.vertex_service.scenario import Scenario, VertexFailure
from tests.doubles.vertex_service.state import ServiceState, VertexRequest

PREFIX = "/_control/"
PATIENCE_S = 60.0


def respond(
    state: ServiceState, method: str, path: str, body: Any
) -> tuple[int, bytes, dict[str, str]]:
    """Return the answer to a request of the test."""
    status, document = _act(state, method, path.removeprefix(PREFIX).split("/", 2), body)
    return status, msgspec.json.encode(document), {"Content-Type": "application/json"}


def _act(state: ServiceState, method: str, parts: list[str], body: Any) -> tuple[int, Any]:
    name, *rest = parts
    with state.lock:
        state.pass_time()
        if name == "requests":
            return 200, state.requests
        if name == "jobs" and not rest:
            return 200, [describe_job(state, job) for job in state.jobs.values()]
        if name == "jobs":
            job = _get_job(state, rest[1])
            if job is None:
                return 404, {"error": f"no job {rest[1]}"}
            _change_job(state, job, rest[0], body or {})
            return 200, describe_job(state, job)
        if name == "files":
            return 200, state.storage.list_objects()
        if name == "waiting":
            return 200, state.waiting
        if name == "about":
            return 200, {"secret": state.logins.secret}
        if name == "scenario":
            change_scenario(state, body)
        elif name == "faults" and method == "DELETE":
            state.scenario.faults.clear()
        elif name == "faults":
            state.scenario.faults.append(msgspec.convert(body, Fault))
        elif name == "expire":
            state.logins.expire()
        elif name == "release":
            state.release()
        else:
            return 404, {"error": f"no control route {name}"}
    return 200, {}


def describe_job(state: ServiceState, job: Job) -> dict[str, Any]:
    """Return a job with what the service does not show; ``id`` is its whole name."""
    return {
        **job.write(state.scenario),
        "id": job.name,
        "request": job.request,
        "epochs": job.epochs,
        "done_epochs": job.done_epochs,
        "is_held": job.is_held,
    }


def _get_job(state: ServiceState, name: str) -> Job | None:
    if name == "last":
        return next(reversed(state.jobs.values()), None)
    return state.jobs.get(name)


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
        failure = msgspec.convert(body, VertexFailure)
        job.fail(failure.code, failure.message)
    elif action == "cancel":
        state.cancel(job)
    elif action == "forget":
        del state.jobs[job.name]


def change_scenario(state: ServiceState, changes: dict[str, Any]) -> None:
    """Change fields of the scenario, which hold from the next request on."""
    merged = {**msgspec.to_builtins(state.scenario), **changes}
    changed = msgspec.convert(merged, Scenario)
    for name in changes:
        setattr(state.scenario, name, getattr(changed, name))


class VertexControl:
    """A test's view of a double, in this process or another."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def _call(self, method: str, name: str, body: Any = None) -> Any:
        data = None if body is None else msgspec.json.encode(body)
        request = urllib.request.Request(
            f"{self._address}{PREFIX}{name}", data, {"Content-Type": "application/json"},
            method=method,
        )  # fmt: skip
        with self._opener.open(request, timeout=PATIENCE_S) as response:
            return json.load(response)

    def get_secret(self) -> str:
        """Return what all access tokens begin with."""
        return str(self._call("GET", "about")["secret"])

    def list_requests(self, call: str | None = None) -> list[VertexRequest]:
        """Return all requests, oldest first; with ``call``, those of it."""
        requests = msgspec.convert(self._call("GET", "requests"), list[VertexRequest])
        return [request for request in requests if call in (None, request.call)]

    def wait_for(self, call: str, count: int = 1) -> list[VertexRequest]:
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
        """Return all jobs, oldest first, each with its ``request``."""
        return list(self._call("GET", "jobs"))

    def list_files(self) -> list[dict[str, Any]]:
        """Return the objects that clients have uploaded, oldest first."""
        return list(self._call("GET", "files"))

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

    def expire_tokens(self) -> None:
        """Let all access tokens so far be expired."""
        self._call("POST", "expire", {})

    def advance(self, positions: int = 1, job: str = "last") -> dict[str, Any]:
        """Move a job on: dataset, tuning, epoch by epoch, post-processing, its end; return it."""
        return dict(self._call("POST", f"jobs/advance/{job}", {"positions": positions}))

    def hold(self, job: str = "last") -> None:
        """Stop a job's clock."""
        self._call("POST", f"jobs/hold/{job}", {})

    def continue_job(self, job: str = "last") -> None:
        """Start a job's clock again."""
        self._call("POST", f"jobs/continue/{job}", {})

    def fail(self, failure: VertexFailure, job: str = "last") -> None:
        """Let a job fail now."""
        self._call("POST", f"jobs/fail/{job}", failure)

    def cancel(self, job: str = "last") -> None:
        """Cancel a job, as somebody else would in the console."""
        self._call("POST", f"jobs/cancel/{job}", {})

    def forget(self, job: str = "last") -> None:
        """Remove a job, so that the service knows nothing of it."""
        self._call("POST", f"jobs/forget/{job}", {})
