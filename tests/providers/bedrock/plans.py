"""Plans and records of jobs at Bedrock, and their files."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from ftwizard.plan.schema import Bedrock, Data, Files, Model, Plan
from ftwizard.providers.bedrock.platform import BedrockPlatform
from ftwizard.runs.remote import RemoteFile, RemoteJob
from tests.doubles.aws import ACCOUNT, BUCKET, EAST, ROLE_ARN

SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
TAG = "0123456789abcdef0123456789abcdef"
GRADER = f"arn:aws:lambda:{EAST}:{ACCOUNT}:function:score"
SETTINGS = Bedrock(region=EAST, bucket=BUCKET, role=ROLE_ARN)


def make_environment(address: str = "http://127.0.0.1:9", region: str = EAST) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": region, "AWS_ENDPOINT_URL": address,
    }  # fmt: skip


def make_plan(settings: Bedrock = SETTINGS, model: str = "nova-lite") -> Plan:
    return Plan(
        provider="bedrock", data=Data(files=Files(train="train.jsonl")), model=Model(name=model),
        bedrock=settings,
    )  # fmt: skip


def make_remote(
    model: str = "amazon.nova-lite-v1:0:300k", *, rows: int = 100, validation: bool = True
) -> RemoteJob:
    names = ("train", "validation") if validation else ("train",)
    files = {
        part: RemoteFile(
            path=f"upload/{part}.jsonl", rows=rows, size_bytes=1,
            name=f"s3://{BUCKET}/ftwizard/ftwizard-{TAG}-{part}.jsonl",
        )
        for part in names
    }  # fmt: skip
    return RemoteJob(provider="bedrock", tag=TAG, model=model, files=files)


def write_rows(path: Path, count: int = 12, start: int = 0) -> Path:
    """Write conversations in the form of Nova."""
    lines = [
        {
            "schemaVersion": "bedrock-conversation-2024",
            "messages": [
                {"role": "user", "content": [{"text": f"How many are {number} and 1?"}]},
                {"role": "assistant", "content": [{"text": str(number + 1)}]},
            ],
        }
        for number in range(start, start + count)
    ]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def submit(
    platform: BedrockPlatform, folder: Path, plan: Plan | None = None
) -> tuple[RemoteJob, str]:
    """Upload rows and create a job; return its record, and its id."""
    plan = plan or make_plan()
    remote = make_remote(platform.get_model_id(plan))
    for part, start in (("train", 0), ("validation", 100)):
        name = platform.name_file(plan, TAG, f"{part}.jsonl")
        path = write_rows(folder / f"{part}.jsonl", start=start)
        file_id = platform.upload(path, name, lambda done, total: None)
        file = msgspec.structs.replace(remote.files[part], name=name, id=file_id, rows=12)
        remote = msgspec.structs.replace(remote, files=remote.files | {part: file})
    request = platform.build_request(plan, remote)
    remote = msgspec.structs.replace(remote, request=json.loads(json.dumps(request)))
    assert remote.request is not None
    return remote, platform.create_job(remote.request).id


def finish(platform: BedrockPlatform, job_id: str) -> str:
    """Look at a job until it has ended; return its tuned model."""
    for _ in range(20):
        status = platform.get_job(job_id)
        if status.state == "succeeded":
            assert status.tuned_model
            return status.tuned_model
    raise AssertionError(f"The job is {status.status}.")
