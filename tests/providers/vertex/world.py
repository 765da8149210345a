"""A double of Vertex AI, the platform that speaks to it, and a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.plan.schema import Data, Files, Model, Plan, Split, Vertex
from ftwizard.providers.base import JobStatus, ProviderError
from ftwizard.providers.vertex.platform import VertexPlatform
from ftwizard.runs.remote import RemoteFile, RemoteJob
from tests.doubles.vertex_service import BUCKET, Fault, RunningVertex

GEMINI = "gemini-3.5-flash"
OPEN = "llama-3.1-8b"
OPEN_ID = "meta/llama3_1@llama-3.1-8b-instruct"
TAG = "0123456789abcdef0123456789abcdef"
ROWS = [
    {
        "contents": [
            {"role": "user", "parts": [{"text": f"Q{n}"}]},
            {"role": "model", "parts": [{"text": f"A{n}"}]},
        ]
    }
    for n in range(12)
]


def ignore(done: int, total: int) -> None:
    """Report no progress."""


class World:
    """A service, the platform that speaks to it, and a run."""

    def __init__(self, service: RunningVertex, folder: Path) -> None:
        self.service, self.folder, self.control = service, folder, service.control
        self.environment = dict(service.environment)
        self.platform = VertexPlatform(self.environment)

    def make_plan(self, model: str = GEMINI, **settings: Any) -> Plan:
        return Plan(
            provider="vertex",
            data=Data(files=Files(train="train.jsonl"), split=Split(validation=0.1)),
            model=Model(name=model),
            vertex=Vertex(**{"bucket": BUCKET, **settings}),
        )

    def write(self, name: str = "rows.jsonl", count: int = 12) -> Path:
        path = self.folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:count]))
        return path

    def make_remote(self, plan: Plan | None = None, tag: str = TAG) -> RemoteJob:
        """Upload the rows of a run; return its record."""
        plan = plan or self.make_plan()
        files = {}
        for part, count in (("train", 12), ("validation", 2)):
            name = self.platform.name_file(plan, tag, f"{part}.jsonl")
            file_id = self.platform.upload(self.write(f"{part}.jsonl", count), name, ignore)
            files[part] = RemoteFile(path=name, name=name, rows=count, size_bytes=1, id=file_id)
        model = self.platform.get_model_id(plan)
        return RemoteJob(provider="vertex", tag=tag, model=model, files=files)

    def create(self, plan: Plan | None = None, tag: str = TAG) -> tuple[RemoteJob, JobStatus]:
        """Create the job of a run; return its record, which has the request, and the job."""
        plan = plan or self.make_plan()
        remote = self.make_remote(plan, tag)
        request = self.platform.build_request(plan, remote)
        request = json.loads(json.dumps(request))  # as it is kept on the disk
        remote = msgspec.structs.replace(remote, request=request)
        status = self.platform.create_job(request)
        return msgspec.structs.replace(remote, job_id=status.id), status

    def finish(self, plan: Plan | None = None) -> tuple[RemoteJob, JobStatus]:
        """Create a job and look at it until it has ended."""
        remote, status = self.create(plan)
        for _ in range(60):
            if status.state not in ("pending", "running"):
                return remote, status
            status = self.platform.get_job(status.id)
        raise AssertionError(status)

    def fail_next(self, on: str, action: Any = "reply", **fault: Any) -> None:
        self.control.add_fault(Fault(on=on, action=action, **fault))

    def count(self, call: str) -> int:
        return len(self.control.list_requests(call))


MakeWorld = Callable[..., World]


@contextmanager
def refused(kind: str, *parts: str, code: str | None = None) -> Iterator[list[ProviderError]]:
    """Expect a ProviderError of a kind, with some words and a next step, and without a token."""
    errors: list[ProviderError] = []
    with pytest.raises(ProviderError) as caught:
        yield errors
    error = caught.value
    errors.append(error)
    assert error.kind == kind, error.text
    assert error.hint
    assert code is None or error.code == code
    for part in parts:
        assert part in error.text
    assert "ya29" not in error.text
    assert "\n" not in error.text
