"""Stateful double of OpenAI's fine-tuning service on loopback, with modes for Foundry and Bedrock.

It is built to the service's documentation and to the official OpenAPI document, under the real SDK: it
rejects what the service rejects, has no protection against a job that is created twice, and checks each
request and response by the document's schemas.

In a test, as a thread::

    def test_job(openai_service: RunningService) -> None:      # sets the SDK's environment variables
        client = openai_service.make_client()
        openai_service.control.add_fault(Fault(on="POST /fine_tuning/jobs", action="drop_reply"))
        ...
        assert len(openai_service.control.list_jobs()) == 1

``foundry_service`` and ``mantle_service`` are the same in the modes of Foundry, and of Bedrock's address
for open weights. At the end, all fail the test if a request or response
was against the document; a test that means it calls ``control.take_violations()`` itself. Other scenarios:
``with serve(Scenario(closed=True)) as service``. As a process, for tests of real subprocesses::

    with serve_process(Scenario(pace=Pace(clock="time"))) as service:
        subprocess.run([...], env=os.environ | service.environment)

or by hand: ``python -m tests.doubles.openai_service --port 0 --scenario FILE.json [--foundry | --mantle]`` prints its
base URL. ``control`` works with both. Faults name routes as the document does, such as
``POST /fine_tuning/jobs`` or ``GET /fine_tuning/jobs/{fine_tuning_job_id}/events``.

By default, a job advances by each look at it (``GET …/jobs/{id}``): validated, started, then a quarter of
its steps each time. ``Pace`` has other clocks. A file is processed once it was looked at. A tuned model
answers each prompt of its files as expected, and of ``Answers.files`` a share; a base model does not.

Deployments of Foundry are made through Azure Resource Manager, another service, which the SDK does not
reach: a test makes them by ``control.deploy(name, model)`` or ``Scenario.deployments``.

In the mode for Bedrock, a job takes no more than a model, a training file of 100 rows or more, and a
grader that is a Lambda function, which is not called. There are no result files, graders or uploads in
parts.

Sources: OpenAI's reference and guides, its OpenAPI document, recorded jobs; for Foundry, Microsoft's
tutorial with its printed replies (events every ten steps without a total, -1 for automatic settings,
``:ckpt-step-N``). Not documented, and so this double's own: the code of a job that moderation refuses, the
metrics of a DPO job (those of a supervised one), the first events of a Foundry job, the words of some
refusals, and the order of checks.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from tests.doubles import http_server
from tests.doubles.openai_service.control import Control
from tests.doubles.openai_service.scenario import (
    KEY,
    QUOTA,
    REASONING_MODEL,
    UNSAFE_FILE,
    UNSAFE_MODEL,
    Answers,
    Fault,
    JobFailure,
    ModelInfo,
    Pace,
    Scenario,
    limit_rate,
    refuse_without_money,
)
from tests.doubles.openai_service.server import ServiceHandler
from tests.doubles.openai_service.state import Request, ServiceState

if TYPE_CHECKING:
    from openai import OpenAI

REPOSITORY = Path(__file__).parents[3]


@dataclasses.dataclass(frozen=True)
class RunningService:
    """A service that runs, as a thread or a process."""

    endpoint: str
    """Its address without a path, as ``AZURE_OPENAI_ENDPOINT`` has it."""
    is_foundry: bool
    key: str
    control: Control
    state: ServiceState | None = None
    """None for a process."""
    is_mantle: bool = False

    @property
    def base_url(self) -> str:
        return f"{self.endpoint}/openai/v1" if self.is_foundry else f"{self.endpoint}/v1"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of the SDK."""
        if self.is_foundry:
            return {"AZURE_OPENAI_API_KEY": self.key, "AZURE_OPENAI_ENDPOINT": self.endpoint}
        if self.is_mantle:
            return {"AWS_BEARER_TOKEN_BEDROCK": self.key, "AWS_BEDROCK_BASE_URL": self.base_url}
        return {"OPENAI_API_KEY": self.key, "OPENAI_BASE_URL": self.base_url}

    def make_client(self, **options: object) -> OpenAI:
        """Return a client of the real SDK."""
        from openai import OpenAI

        settings: dict[str, object] = {"api_key": self.key, "base_url": self.base_url, **options}
        return OpenAI(**settings)  # type: ignore[arg-type]


@contextmanager
def serve(
    scenario: Scenario | None = None,
    *,
    foundry: bool = False,
    mantle: bool = False,
    port: int = 0,
) -> Iterator[RunningService]:
    """Serve in a thread until the block ends."""
    state = ServiceState(scenario or Scenario(), foundry, mantle)
    handler = type("Handler", (ServiceHandler,), {"state": state})
    with http_server.serve(handler, port) as actual_port:
        endpoint = f"http://127.0.0.1:{actual_port}"
        try:
            key = state.scenario.key
            yield RunningService(endpoint, foundry, key, Control(endpoint), state, mantle)
        finally:
            state.release()


@contextmanager
def serve_process(
    scenario: Scenario | None = None, *, foundry: bool = False, mantle: bool = False
) -> Iterator[RunningService]:
    """Serve as a process until the block ends."""
    scenario = scenario or Scenario()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "scenario.json"
        file.write_bytes(msgspec.json.encode(scenario))
        command = [sys.executable, "-m", __name__, "--port", "0", "--scenario", str(file)]
        process = subprocess.Popen(
            command + ["--foundry"] * foundry + ["--mantle"] * mantle,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            endpoint = address.removesuffix("/openai/v1" if foundry else "/v1")
            control = Control(endpoint)
            yield RunningService(endpoint, foundry, scenario.key, control, is_mantle=mantle)
        finally:
            process.terminate()
            process.wait()


__all__ = [
    "KEY",
    "QUOTA",
    "REASONING_MODEL",
    "UNSAFE_FILE",
    "UNSAFE_MODEL",
    "Answers",
    "Control",
    "Fault",
    "JobFailure",
    "ModelInfo",
    "Pace",
    "Request",
    "RunningService",
    "Scenario",
    "limit_rate",
    "refuse_without_money",
    "serve",
    "serve_process",
]
