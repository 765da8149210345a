"""Plans and records of jobs at Bedrock, and an environment that reaches nothing but loopback."""

from __future__ import annotations

from ftwizard.plan.schema import Bedrock, Data, Files, Model, Plan
from ftwizard.runs.remote import RemoteFile, RemoteJob

ACCOUNT = "123456789012"
SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
TAG = "0123456789abcdef0123456789abcdef"
BUCKET = "rows-of-ours"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/tuner"
GRADER = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:score"
SETTINGS = Bedrock(region="us-east-1", bucket=BUCKET, role=ROLE)


def make_environment(
    address: str = "http://127.0.0.1:9", region: str = "us-east-1"
) -> dict[str, str]:
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
