"""The doubles of all platforms under one interface: calls by our names, and what goes wrong there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol, get_args

from ftwizard.hosted_platforms import HostedProvider
from tests.doubles import aws, openai_service, together_service, vertex_service
from tests.doubles.openai_service import Control, Pace
from tests.doubles.together_service.control import TogetherControl, serve_together_process
from tests.doubles.vertex_service.errors import ServiceError, StorageError

Trouble = Literal[
    "drop_request", "drop_reply", "error", "error_after", "rate_limit", "hold", "hold_reply"
]
"""``error``: 500 and nothing is done; ``error_after``: it is done, then 500."""
PLATFORMS: tuple[HostedProvider, ...] = get_args(HostedProvider)
NO_CREDENTIALS = {
    "AWS_EC2_METADATA_DISABLED": "true",
    **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ""),
    **dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull),
}
"""Let boto3 find no credentials, and ask no metadata service for them."""
_OPENAI = {
    "find file": "GET /files",
    "upload": "POST /files",
    "check file": "GET /files/{file_id}",
    "create": "POST /fine_tuning/jobs",
    "list jobs": "GET /fine_tuning/jobs",
    "look up": "GET /fine_tuning/jobs/{fine_tuning_job_id}",
    "events": "GET /fine_tuning/jobs/{fine_tuning_job_id}/events",
    "checkpoints": "GET /fine_tuning/jobs/{fine_tuning_job_id}/checkpoints",
    "results": "GET /files/{file_id}/content",
    "cancel": "POST /fine_tuning/jobs/{fine_tuning_job_id}/cancel",
    "ask": "POST /chat/completions",
}
_TOGETHER = {
    "find file": ("GET", r"^/v1/files$"),
    "upload": ("POST", r"^/v1/files$"),
    "store": ("PUT", r"^/_storage/"),
    "preprocess": ("POST", r"^/v1/files/[^/]+/preprocess$"),
    "check file": ("GET", r"^/v1/files/[^/]+$"),
    "price": ("POST", r"^/v1/fine-tunes/estimate-price$"),
    "limits": ("GET", r"^/v1/fine-tunes/models/limits$"),
    "create": ("POST", r"^/v1/fine-tunes$"),
    "list jobs": ("GET", r"^/v1/fine-tunes$"),
    "look up": ("GET", r"^/v1/fine-tunes/ft-[^/]+$"),
    "events": ("GET", r"^/v1/fine-tunes/[^/]+/events$"),
    "metrics": ("GET", r"^/v1/fine-tunes/[^/]+/metrics$"),
    "checkpoints": ("GET", r"^/v1/fine-tunes/[^/]+/checkpoints$"),
    "cancel": ("POST", r"^/v1/fine-tunes/[^/]+/cancel$"),
    "ask": ("POST", r"^/v1/chat/completions$"),
}

_BEDROCK = {
    "identity": "get_caller_identity",
    "find file": "head_object",
    "upload": "upload",
    "check file": "head_object",
    "role": "get_role",
    "create": "create_job",
    "list jobs": "list_jobs",
    "look up": "get_job",
    "events": "get_job",
    "list results": "list_objects",
    "results": "download",
    "cancel": "stop_job",
    "models": "list_foundation_models",
    "deploy": "create_deployment",
    "list deployments": "list_deployments",
    "ask": "converse",
}
_BEDROCK_ERRORS = {401: (403, "UnrecognizedClientException"), 404: (404, "")}
"""Status and code in place of those of another service; an empty code is the service's own."""
_BEDROCK_STATUSES = {
    "InProgress": "running", "Stopping": "running", "Stopped": "cancelled", "Failed": "failed",
    "Completed": "succeeded",
}  # fmt: skip

_VERTEX = {
    "log in": "token",
    "bucket": "get_bucket",
    "rights": "test_permissions",
    "find file": "get_object",
    "check file": "get_object",
    "upload": "upload*",
    "create": "create_job",
    "list jobs": "list_jobs",
    "look up": "get_job",
    "events": "get_job",
    "cancel": "cancel_job",
    "weights": "list_objects",
    "download": "download",
    "try reward": "validate_reward",
    "ask": "generate*",
}
_VERTEX_STATUSES = {
    "JOB_STATE_PENDING": "pending", "JOB_STATE_SUCCEEDED": "succeeded",
    "JOB_STATE_FAILED": "failed", "JOB_STATE_CANCELLED": "cancelled",
}  # fmt: skip
_STORAGE = ("bucket", "rights", "find file", "check file", "upload", "weights", "download")


class HostedDouble(Protocol):
    """A running double of a platform."""

    provider: HostedProvider
    environment: dict[str, str]
    key: str
    calls: tuple[str, ...]
    """What a follower asks for, by our names, whatever is lost."""
    writes_losses: bool
    """A run has values of its training steps: losses, or rewards."""
    keeps_checkpoints: bool
    """A job that succeeded has checkpoints."""
    counts_tokens: bool
    """The platform says how many tokens a job was trained on, and so what it cost."""

    def disturb(self, call: str, trouble: Trouble, *, times: int = 1, skip: int = 0) -> None:
        """Let something go wrong with the next calls."""

    def answer(self, call: str, status: int, code: str, message: str, times: int = 1000) -> None:
        """Answer the next calls with an error, without doing anything."""

    def calm(self) -> None:
        """Let nothing go wrong any more."""

    def list_jobs(self) -> list[dict[str, Any]]: ...

    def list_files(self) -> list[dict[str, Any]]: ...

    def change(self, **fields: Any) -> None: ...

    def take_longer(self) -> None:
        """Let jobs stand still in the middle of their training."""

    def go_on(self) -> None:
        """Let the newest job that stands still continue, and jobs be as usual."""

    def cancel(self) -> None:
        """Cancel the newest job, as somebody else would."""

    def wait_for_held(self) -> None: ...

    def release(self) -> None: ...


class OpenAIDouble:
    """OpenAI, Foundry, or Bedrock's address for open weights."""

    calls: tuple[str, ...] = (
        "find file", "upload", "check file", "create", "list jobs", "look up", "events",
        "checkpoints", "results",
    )  # fmt: skip
    writes_losses = True
    keeps_checkpoints = True
    counts_tokens = True

    def __init__(self, service: openai_service.RunningService) -> None:
        self.provider: HostedProvider = "foundry" if service.is_foundry else "openai"
        self.settings: dict[str, Any] = {}
        """Of a plan."""
        if service.is_mantle:
            self.provider = "mantle"
            self.settings = {"grader": "arn:aws:lambda:us-west-2:123456789012:function:score"}
            self.calls = tuple(call for call in self.calls if call != "results")
        self.environment, self.key = service.environment, service.key
        if service.is_mantle:
            self.environment |= NO_CREDENTIALS
        self.control: Control = service.control

    def disturb(self, call: str, trouble: Trouble, *, times: int = 1, skip: int = 0) -> None:
        fields: dict[Trouble, dict[str, Any]] = {
            "error": {"action": "reply"},
            "error_after": {"action": "reply_after"},
            "rate_limit": {"action": "reply", "status": 429, "headers": {"Retry-After": "0.05"}},
        }
        fault: dict[str, Any] = {"on": _OPENAI[call], "times": times, "skip": skip}
        fault |= fields.get(trouble, {"action": trouble})
        self.control.add_fault(openai_service.Fault(**fault))

    def answer(self, call: str, status: int, code: str, message: str, times: int = 1000) -> None:
        error = {"message": message, "type": "invalid_request_error", "code": code, "param": None}
        self.control.add_fault(
            openai_service.Fault(
                on=_OPENAI[call], times=times, status=status, body={"error": error}
            )
        )

    def calm(self) -> None:
        self.control.clear_faults()

    def list_jobs(self) -> list[dict[str, Any]]:
        return self.control.list_jobs()

    def list_files(self) -> list[dict[str, Any]]:
        return [file for file in self.control.list_files() if file["purpose"] == "fine-tune"]

    def change(self, **fields: Any) -> None:
        self.control.change(**fields)

    def take_longer(self) -> None:
        self.control.change(pace=Pace(clock="polls", hold_at=4))

    def go_on(self) -> None:
        self.control.change(pace=Pace())
        self.control.continue_job()

    def cancel(self) -> None:
        self.control.cancel()

    def wait_for_held(self) -> None:
        self.control.wait_for_held()

    def release(self) -> None:
        self.control.release()


class TogetherDouble:
    provider: HostedProvider = "together"
    key = together_service.KEY
    calls: tuple[str, ...] = (
        "find file", "upload", "store", "preprocess", "check file", "price", "limits", "create",
        "list jobs", "look up", "events", "metrics", "checkpoints",
    )  # fmt: skip
    writes_losses = True
    keeps_checkpoints = True
    counts_tokens = True

    def __init__(self, address: str) -> None:
        self.environment = {"TOGETHER_API_KEY": self.key, "TOGETHER_BASE_URL": address}
        self.control = TogetherControl(address)

    def disturb(self, call: str, trouble: Trouble, *, times: int = 1, skip: int = 0) -> None:
        method, path = _TOGETHER[call]
        fields: dict[Trouble, dict[str, Any]] = {
            "drop_request": {"drop": "before"},
            "drop_reply": {"drop": "after"},
            "error": {"status": 500},
            "error_after": {"status": 500, "acts": True},
            "rate_limit": {"status": 429, "retry_after": 0.05},
            "hold": {"hold": "before"},
            "hold_reply": {"hold": "after"},
        }
        self.control.add_fault(
            together_service.Fault(
                method=method, path=path, times=times, skip=skip, **fields[trouble]
            )
        )

    def answer(self, call: str, status: int, code: str, message: str, times: int = 1000) -> None:
        method, path = _TOGETHER[call]
        body = {"error": {"message": message, "type": "invalid_request_error", "code": code}}
        self.control.add_fault(
            together_service.Fault(method=method, path=path, times=times, status=status, body=body)
        )

    def calm(self) -> None:
        self.control.clear_faults()

    def list_jobs(self) -> list[dict[str, Any]]:
        return self.control.list_jobs()

    def list_files(self) -> list[dict[str, Any]]:
        return [file for file in self.control.list_files() if file["bytes"]]

    def change(self, **fields: Any) -> None:
        self.control.change(**fields)

    def take_longer(self) -> None:
        self.control.change(running_states=1_000_000)

    def go_on(self) -> None:
        self.control.change(running_states=3)

    def cancel(self) -> None:
        self.control.set_status(self.list_jobs()[-1]["id"], "cancelled")

    def wait_for_held(self) -> None:
        self.control.wait_for_held()

    def release(self) -> None:
        self.control.release()


class AwsDouble:
    """Bedrock, with the bucket and the role that it needs; what happens is of its own region."""

    provider: HostedProvider = "bedrock"
    calls: tuple[str, ...] = (
        "find file", "upload", "check file", "create", "list jobs", "look up", "list results",
        "results",
    )  # fmt: skip
    writes_losses = True
    keeps_checkpoints = False
    counts_tokens = False

    def __init__(self, service: aws.RunningAws) -> None:
        self.environment, self.key = service.environment, service.scenario.key
        self.control: aws.AwsControl = service.control
        self.settings = aws.SETTINGS

    def disturb(self, call: str, trouble: Trouble, *, times: int = 1, skip: int = 0) -> None:
        fields: dict[Trouble, dict[str, Any]] = {
            "error": {"action": "reply"},
            "error_after": {"action": "reply_after"},
            "rate_limit": {"action": "reply", "status": 429, "headers": {"Retry-After": "0.05"}},
        }
        fault: dict[str, Any] = {"on": _BEDROCK[call], "times": times, "skip": skip}
        fault |= fields.get(trouble, {"action": trouble})
        self.control.add_fault(aws.AwsFault(**fault))

    def answer(self, call: str, status: int, code: str, message: str, times: int = 1000) -> None:
        """Answer with an error; a code that is none of AWS becomes the service's own."""
        if not code[:1].isupper():
            status, code = _BEDROCK_ERRORS.get(status, (status, ""))
        self.control.add_fault(
            aws.AwsFault(on=_BEDROCK[call], times=times, status=status, code=code, message=message)
        )

    def calm(self) -> None:
        self.control.clear_faults()

    def list_jobs(self) -> list[dict[str, Any]]:
        return [
            {
                **job,
                "id": job["jobName"],
                "state": job["status"],
                "status": _BEDROCK_STATUSES.get(job["status"], job["status"]),
            }
            for job in self.control.list_jobs()
        ]

    def list_files(self) -> list[dict[str, Any]]:
        return self.control.list_files()

    def change(self, **fields: Any) -> None:
        self.control.change(**fields)

    def take_longer(self) -> None:
        self.control.change(running_looks=1_000_000)

    def go_on(self) -> None:
        self.control.change(running_looks=3)

    def cancel(self) -> None:
        self.control.stop()

    def wait_for_held(self) -> None:
        self.control.wait_for_held()

    def release(self) -> None:
        self.control.release()


class VertexDouble:
    """Vertex AI, with its bucket; ``key``: what all access tokens begin with."""

    provider: HostedProvider = "vertex"
    calls: tuple[str, ...] = ("find file", "upload", "create", "list jobs", "look up")
    writes_losses = False
    keeps_checkpoints = True
    counts_tokens = True

    def __init__(self, service: vertex_service.RunningVertex) -> None:
        self.service = service
        self.environment, self.control = service.environment, service.control
        self.key = self.control.get_secret()
        self.settings = {"bucket": vertex_service.BUCKET}
        """Of a plan; project and location are in the environment."""

    def disturb(self, call: str, trouble: Trouble, *, times: int = 1, skip: int = 0) -> None:
        fields: dict[Trouble, dict[str, Any]] = {
            "error": {"action": "reply"},
            "error_after": {"action": "reply_after"},
            "rate_limit": {"action": "reply", "status": 429, "headers": {"Retry-After": "0.05"}},
        }
        fault: dict[str, Any] = {"on": _VERTEX[call], "times": times, "skip": skip}
        fault |= fields.get(trouble, {"action": trouble})
        self.control.add_fault(vertex_service.Fault(**fault))

    def answer(self, call: str, status: int, code: str, message: str, times: int = 1000) -> None:
        """Answer the next calls with an error; ``code``: the reason of its ErrorInfo."""
        if call in _STORAGE:
            error: ServiceError = StorageError(status, message)
        else:
            error = ServiceError(status, message, reason=code.upper())
        self.control.add_fault(
            vertex_service.Fault(on=_VERTEX[call], times=times, status=status, body=error.write())
        )

    def calm(self) -> None:
        self.control.clear_faults()

    def list_jobs(self) -> list[dict[str, Any]]:
        return [
            {**job, "status": _VERTEX_STATUSES.get(job["state"], "running")}
            for job in self.control.list_jobs()
        ]

    def list_files(self) -> list[dict[str, Any]]:
        return self.control.list_files()

    def change(self, **fields: Any) -> None:
        self.control.change(**fields)

    def take_longer(self) -> None:
        self.control.change(pace=vertex_service.VertexPace(hold_at=1))

    def go_on(self) -> None:
        self.control.change(pace=vertex_service.VertexPace())
        self.control.continue_job()

    def cancel(self) -> None:
        self.control.cancel()

    def wait_for_held(self) -> None:
        self.control.wait_for_held()

    def release(self) -> None:
        self.control.release()


@contextmanager
def serve_double(provider: HostedProvider, **scenario: Any) -> Iterator[HostedDouble]:
    """Serve a platform in a thread until the block ends."""
    if provider == "together":
        with together_service.serve_together(together_service.Scenario(**scenario)) as service:
            yield TogetherDouble(service.address)
        return
    if provider == "bedrock":
        with aws.serve_aws(aws.AwsScenario(**scenario)) as cloud:
            yield AwsDouble(cloud)
        return
    if provider == "vertex":
        with vertex_service.serve(vertex_service.Scenario(**scenario)) as vertex:
            yield VertexDouble(vertex)
        return
    modes = {"foundry": provider == "foundry", "mantle": provider == "mantle"}
    with openai_service.serve(openai_service.Scenario(**scenario), **modes) as running:
        yield OpenAIDouble(running)


@contextmanager
def serve_double_process(provider: HostedProvider, **scenario: Any) -> Iterator[HostedDouble]:
    """Serve a platform as a process until the block ends."""
    if provider == "together":
        with serve_together_process(together_service.Scenario(**scenario)) as address:
            yield TogetherDouble(address)
        return
    if provider == "bedrock":
        with aws.serve_aws_process(aws.AwsScenario(**scenario)) as cloud:
            yield AwsDouble(cloud)
        return
    if provider == "vertex":
        with vertex_service.serve_process(vertex_service.Scenario(**scenario)) as vertex:
            yield VertexDouble(vertex)
        return
    modes = {"foundry": provider == "foundry", "mantle": provider == "mantle"}
    with openai_service.serve_process(openai_service.Scenario(**scenario), **modes) as running:
        yield OpenAIDouble(running)
