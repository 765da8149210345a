"""A double of Together, the platform that speaks to it, and a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.plan.schema import Data, Files, Model, Plan, Split, Together
from ftwizard.providers.base import JobStatus, ProviderError
from ftwizard.providers.together.platform import TogetherPlatform
from ftwizard.runs.remote import RemoteFile, RemoteJob
from tests.doubles.together_service import KEY, LLAMA, Fault, TogetherService

WANDB_KEY = "0123456789abcdef0123456789abcdef01234567"
ROWS = [
    {"messages": [{"role": "user", "content": f"Q{n}"}, {"role": "assistant", "content": f"A{n}"}]}
    for n in range(12)
]
PAIRS = [
    {
        "input": {"messages": [{"role": "user", "content": f"Q{n}"}]},
        "preferred_output": [{"role": "assistant", "content": "Yes."}],
        "non_preferred_output": [{"role": "assistant", "content": "No."}],
    }
    for n in range(12)
]
CREATE = "/v1/fine-tunes"


class World:
    """A service, the platform that speaks to it, and a run."""

    def __init__(self, service: TogetherService, folder: Path) -> None:
        self.service, self.folder = service, folder
        self.environment = {
            "TOGETHER_API_KEY": KEY, "TOGETHER_BASE_URL": service.address, "WANDB_API_KEY": WANDB_KEY,
        }  # fmt: skip
        self.platform = TogetherPlatform(self.environment)

    def make_plan(self, model: str = LLAMA, *, validation: bool = True, **settings: Any) -> Plan:
        split = Split(validation=0.1 if validation else 0.0)
        return Plan(
            provider="together",
            data=Data(files=Files(train="train.jsonl"), split=split),
            model=Model(name=model),
            together=Together(**settings),
        )

    def write(self, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> Path:
        path = self.folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def upload(self, rows: list[dict[str, Any]], name: str) -> str:
        file_id = self.platform.upload(self.write(rows), name, lambda done, total: None)
        while self.platform.check_file(file_id).state == "pending":
            pass
        return file_id

    def make_remote(self, tag: str = "run-1", rows: list[dict[str, Any]] = ROWS) -> RemoteJob:
        names = {"train": f"{tag}-train.jsonl", "validation": f"{tag}-validation.jsonl"}
        files = {}
        for part, name in names.items():
            part_rows = rows if part == "train" else rows[:4]
            file_id = self.upload(part_rows, name)
            files[part] = RemoteFile(path=name, name=name, rows=1, size_bytes=1, id=file_id)
        return RemoteJob(provider="together", tag=tag, model=LLAMA, files=files)

    def create(self, remote: RemoteJob | None = None, **settings: Any) -> JobStatus:
        remote = remote or self.make_remote()
        request = self.platform.build_request(self.make_plan(**settings), remote)
        return self.platform.create_job(request)

    def finish(self, **settings: Any) -> tuple[RemoteJob, JobStatus]:
        """Create a job and look at it until it has ended."""
        remote = self.make_remote(rows=PAIRS if settings.get("training_method") == "dpo" else ROWS)
        status = self.create(remote, **settings)
        while status.state in ("pending", "running"):
            status = self.platform.get_job(status.id)
        return msgspec.structs.replace(remote, job_id=status.id), status

    def fail_next(self, **fault: Any) -> None:
        self.service.scenario.faults.append(Fault(**fault))

    def count_creates(self) -> int:
        return self.service.count("POST", CREATE)


MakeWorld = Callable[..., World]


@contextmanager
def refused(kind: str, *parts: str) -> Iterator[None]:
    """Expect a ProviderError of a kind, with some words and a next step, and without a key."""
    with pytest.raises(ProviderError) as caught:
        yield
    error = caught.value
    assert error.kind == kind
    assert error.hint
    for part in parts:
        assert part in error.text
    assert KEY not in error.text
    assert WANDB_KEY not in error.text
    assert "\n" not in error.text
