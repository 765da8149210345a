"""Control of a running double of Together from a test, and the double as a process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from tests.doubles.together_service.scenario import Fault, Scenario
from tests.paths import TESTS

PATIENCE_S = 60.0


class TogetherControl:
    """A test's view of a service, in this process or another."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def _call(self, method: str, name: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(msgspec.to_builtins(body)).encode()
        request = urllib.request.Request(
            f"{self._address}/_control/{name}", data, {"Content-Type": "application/json"},
            method=method,
        )  # fmt: skip
        with self._opener.open(request, timeout=PATIENCE_S) as response:
            return json.load(response)

    def list_requests(self) -> list[dict[str, Any]]:
        """Return all requests, oldest first."""
        return list(self._call("GET", "requests"))

    def list_jobs(self) -> list[dict[str, Any]]:
        """Return all jobs, oldest first, each with its ``request``."""
        return list(self._call("GET", "jobs"))

    def list_files(self) -> list[dict[str, Any]]:
        """Return all files, oldest first."""
        return list(self._call("GET", "files"))

    def change(self, **fields: Any) -> None:
        """Change fields of the scenario."""
        self._call("POST", "scenario", fields)

    def add_fault(self, fault: Fault) -> None:
        """Let something go wrong from now on."""
        self._call("POST", "faults", fault)

    def clear_faults(self) -> None:
        """Let nothing go wrong any more."""
        self._call("DELETE", "faults")

    def set_status(self, job_id: str, status: str) -> None:
        """Give a job a status, as where somebody else cancels it."""
        self._call("POST", f"jobs/{job_id}", {"status": status})

    def wait_for_held(self, count: int = 1) -> None:
        """Return as soon as faults hold back so many requests."""
        end = time.monotonic() + PATIENCE_S
        while self._call("GET", "waiting") < count:
            if time.monotonic() > end:
                raise TimeoutError("no request is held back")
            time.sleep(0.02)

    def release(self) -> None:
        """Let the requests that faults hold back go on."""
        self._call("POST", "release", {})


@contextmanager
def serve_together_process(scenario: Scenario | None = None) -> Iterator[str]:
    """Serve as a process until the block ends; yield its address."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "scenario.json"
        file.write_bytes(msgspec.json.encode(scenario or Scenario()))
        process = subprocess.Popen(
            [
                sys.executable, "-m", "tests.doubles.together_service", "--port", "0",
                "--scenario", str(file),
            ],
            stdout=subprocess.PIPE, text=True, cwd=TESTS.parent,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            process.wait()
