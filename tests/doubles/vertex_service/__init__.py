"""Stateful double of Vertex AI and Cloud Storage on loopback, under the real SDKs.

google-genai, google-auth and google-cloud-storage run on it unchanged: it has the token endpoint of a
service account, tuning jobs, models, endpoints that answer, and a bucket, which is fake-gcs-server behind
a handler that adds logins, permissions, locations and faults. It rejects what the service rejects, and has
no protection against a job that is created twice.

In a test, as a thread::

    with serve() as service:
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
        client = service.make_client()
        service.control.add_fault(Fault(on="create_job", action="drop_reply"))
        ...
        assert len(service.control.list_jobs()) == 1

As a process: ``serve_process``, or ``python -m tests.doubles.vertex_service --port 0 --scenario FILE.json``,
which prints its address and the environment for a shell.

Faults name calls: ``token``, ``create_job``, ``list_jobs``, ``get_job``, ``cancel_job``,
``validate_reward``, ``list_models``, ``get_model``, ``generate``, ``generate_stream``, ``get_tuned_model``,
``delete_tuned_model``, ``list_endpoints``, ``get_endpoint``, ``delete_endpoint``; of the bucket
``get_bucket``, ``test_permissions``, ``list_objects``, ``get_object``, ``download``, ``upload`` (a whole
object, or the begin of one in parts), ``upload_part``, ``delete_object``.

By default, a job advances by each look at it (``get_job``): its dataset, tuning, a quarter of its epochs
each time, post-processing, the end. A tuned Gemini answers each prompt of its files as expected, and of
``Answers.files`` a share; a base model does not. An open model writes weights to its bucket.

Sources: the REST reference of tuningJobs, Google's guides to tuning, a recorded job, google.rpc's errors,
and the SDKs. Not documented, and so this double's own: the words of most refusals, what is refused at the
creation and what fails the job, the bounds of settings, filters by label, and the order of checks.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from tests.doubles import http_server
from tests.doubles.openai_service.scenario import Answers, Fault, limit_rate
from tests.doubles.vertex_service.bucket import serve_storage
from tests.doubles.vertex_service.control import VertexControl
from tests.doubles.vertex_service.login import Logins
from tests.doubles.vertex_service.models import VertexModel
from tests.doubles.vertex_service.scenario import (
    BUCKET,
    NO_ENDPOINT,
    PROJECT,
    PROJECT_NUMBER,
    Bucket,
    Scenario,
    VertexFailure,
    VertexPace,
)
from tests.doubles.vertex_service.server import ServiceHandler
from tests.doubles.vertex_service.state import ServiceState, VertexRequest

if TYPE_CHECKING:
    from google.genai import Client

REPOSITORY = Path(__file__).parents[3]
LOCATION = "us-central1"


@dataclasses.dataclass(frozen=True)
class RunningVertex:
    """A double that runs, as a thread or a process."""

    address: str
    environment: dict[str, str]
    """The environment variables of the SDKs."""
    control: VertexControl
    state: ServiceState | None = None
    """None for a process."""

    def make_client(self, location: str = LOCATION, attempts: int | None = None) -> Client:
        """Return a client of the real SDK, logged in with the service account.

        ``attempts``: how often it asks; None: once, as by default.
        """
        from google import genai
        from google.genai import types
        from google.oauth2 import service_account

        credentials = service_account.Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
            self.environment["GOOGLE_APPLICATION_CREDENTIALS"],
            scopes=["https://www.googleapis.com/auth/cloud-platform"],
        )
        return genai.Client(
            vertexai=True,
            project=self.environment["GOOGLE_CLOUD_PROJECT"],
            location=location,
            credentials=credentials,
            http_options=types.HttpOptions(
                base_url=self.address,
                api_version="v1beta1",
                timeout=60_000,
                retry_options=types.HttpRetryOptions(attempts=attempts, initial_delay=0.01)
                if attempts
                else None,
            ),
        )


@contextmanager
def serve(scenario: Scenario | None = None, port: int = 0) -> Iterator[RunningVertex]:
    """Serve in a thread until the block ends."""
    scenario = scenario or Scenario()
    logins = Logins(scenario)
    handler: type[ServiceHandler] = type("Handler", (ServiceHandler,), {})
    with (
        TemporaryDirectory() as folder,
        http_server.serve(handler, port) as actual_port,
        serve_storage(address := f"http://127.0.0.1:{actual_port}", scenario.buckets) as storage,
    ):
        state = ServiceState(scenario, storage, logins)
        handler.state = state
        logins.address = address
        environment = {
            "GOOGLE_APPLICATION_CREDENTIALS": str(logins.write_key_file(Path(folder))),
            "GOOGLE_CLOUD_PROJECT": scenario.project,
            "GOOGLE_CLOUD_LOCATION": LOCATION,
            "GOOGLE_VERTEX_BASE_URL": address,
            "STORAGE_EMULATOR_HOST": address,
            "NO_GCE_CHECK": "true",
        }
        try:
            yield RunningVertex(address, environment, VertexControl(address), state)
        finally:
            state.release()


@contextmanager
def serve_process(scenario: Scenario | None = None) -> Iterator[RunningVertex]:
    """Serve as a process until the block ends."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "scenario.json"
        file.write_bytes(msgspec.json.encode(scenario or Scenario()))
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, "--port", "0", "--scenario", str(file)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            environment = {}
            while line := process.stdout.readline().strip():
                name, _, value = line.removeprefix("export ").partition("=")
                environment[name] = shlex.split(value)[0]
            yield RunningVertex(address, environment, VertexControl(address))
        finally:
            process.terminate()
            process.wait()


__all__ = [
    "BUCKET", "LOCATION", "NO_ENDPOINT", "PROJECT", "PROJECT_NUMBER", "Answers", "Bucket", "Fault",
    "RunningVertex", "Scenario", "VertexControl", "VertexFailure", "VertexModel", "VertexPace",
    "VertexRequest", "limit_rate", "serve", "serve_process",
]  # fmt: skip
