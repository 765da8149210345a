"""Stateful double of AWS on loopback, for real clients of boto3: one address for all services.

S3, IAM and STS are moto's; Bedrock, Lambda, quotas, prices and the simulation of policies are the
double's own, built to the service's documentation and the SDK's model. It is strict: signatures are
checked; a job needs a role that trusts Bedrock and may read and write, objects that exist in the
model's region, JSONL of the model's form with enough rows, hyperparameters within their bounds, and
names that are free. A repeated ``clientRequestToken`` makes nothing new.

In a test, as a thread::

    with serve_aws(AwsScenario(validating_looks=2)) as service:
        bedrock = service.make_client("bedrock")
        service.control.add_fault(AwsFault(on="create_job", action="drop_reply"))

As a process: ``serve_aws_process``, or by hand ``python -m tests.doubles.aws --port 0 --scenario FILE``,
which prints its address. ``environment`` has all that boto3 needs to find the service and nothing else.
``control`` works with both. A fault names a call as ``calls.py`` does: ``create_job``, ``get_job``,
``upload``, ``converse``; one of IAM or STS has its own name, as in ``get_caller_identity``.

From the start there is a bucket in each of both regions, and the role ``ROLE_ARN``. By default, a job
advances by each look at it (``get_job``): its files are validated, it waits for capacity, it is trained,
it ends, and its metrics are in the bucket. A tuned model answers each prompt of its files as expected,
and of ``Answers.files`` a share, by its deployment; a base model does not.

Sources: the model of the SDK, the user guide of Bedrock, and published accounts of users. Not
documented, and so this double's own: the words for counts of rows, hyperparameters, names of models and
deployments that are taken, and jobs that cannot be stopped; and the order of checks. Functions of Lambda
run in the double's process, and a grader is asked about the right and a wrong answer once a job.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from tests.doubles.aws.control import AwsControl
from tests.doubles.aws.scenario import (
    ACCOUNT,
    BUCKETS,
    EAST,
    KEY,
    KEY_ID,
    MODELS,
    ROLE,
    USER,
    WEST,
    AwsFailure,
    AwsFault,
    AwsFunction,
    AwsScenario,
    BedrockModel,
)
from tests.doubles.aws.state import AwsState

BUCKET, WEST_BUCKET = BUCKETS
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/{ROLE}"
SETTINGS = {"region": EAST, "bucket": BUCKET, "role": ROLE_ARN}
"""The settings of a plan for a model of Nova, under ``bedrock``."""
REPOSITORY = Path(__file__).parents[3]
UNSET = (
    "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_BEARER_TOKEN_BEDROCK", "AWS_SESSION_TOKEN",
    "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CA_BUNDLE", "AWS_REGION",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_ENDPOINT_URL_BEDROCK", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_IAM", "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_LAMBDA",
    "AWS_ENDPOINT_URL_SERVICE_QUOTAS", "AWS_ENDPOINT_URL_PRICING",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
)  # fmt: skip
"""Variables of a machine that would lead a client elsewhere."""


@dataclasses.dataclass(frozen=True)
class RunningAws:
    """A service that runs, as a thread or a process."""

    endpoint: str
    control: AwsControl
    scenario: AwsScenario
    state: AwsState | None = None
    """None for a process."""

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the SDK; ``UNSET`` are those that must not be there."""
        variables = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.scenario.key_id,
            "AWS_SECRET_ACCESS_KEY": self.scenario.key,
            "AWS_DEFAULT_REGION": EAST,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        if self.scenario.session_token:
            variables["AWS_SESSION_TOKEN"] = self.scenario.session_token
        return variables

    def make_client(self, service: str, region: str = EAST, **options: Any) -> Any:
        """Return a client of the real SDK, whatever the variables of this process are."""
        from botocore.config import Config

        scenario = self.scenario
        session = _make_session(scenario.key_id, scenario.key, scenario.session_token)
        config = Config(
            signature_version="s3v4" if service == "s3" else "v4",
            retries={"mode": "standard", "total_max_attempts": 1},
            proxies={},
            connect_timeout=10,
            read_timeout=60,
        )
        settings = {"endpoint_url": self.endpoint, "config": config, **options}
        return session.client(service, region_name=region, **settings)


@functools.cache
def _make_session(key_id: str, key: str, token: str | None) -> Any:
    """Return a session, which reads the SDK's models once."""
    import boto3

    return boto3.Session(key_id, key, token)


@contextmanager
def serve_aws(scenario: AwsScenario | None = None, *, port: int = 0) -> Iterator[RunningAws]:
    """Serve in a thread until the block ends."""
    from tests.doubles.aws.server import run_server  # slow

    with run_server(scenario or AwsScenario(), port) as (endpoint, state):
        yield RunningAws(endpoint, AwsControl(endpoint), state.scenario, state)


@contextmanager
def serve_aws_process(scenario: AwsScenario | None = None) -> Iterator[RunningAws]:
    """Serve as a process until the block ends."""
    scenario = scenario or AwsScenario()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "scenario.json"
        file.write_bytes(msgspec.json.encode(scenario))
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, "--port", "0", "--scenario", str(file)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        try:
            assert process.stdout is not None
            endpoint = process.stdout.readline().strip()
            yield RunningAws(endpoint, AwsControl(endpoint), scenario)
        finally:
            process.terminate()
            process.wait()


__all__ = [
    "ACCOUNT",
    "BUCKET",
    "EAST",
    "KEY",
    "KEY_ID",
    "MODELS",
    "ROLE",
    "ROLE_ARN",
    "SETTINGS",
    "UNSET",
    "USER",
    "WEST",
    "WEST_BUCKET",
    "AwsControl",
    "AwsFailure",
    "AwsFault",
    "AwsFunction",
    "AwsScenario",
    "BedrockModel",
    "RunningAws",
    "serve_aws",
    "serve_aws_process",
]
