"""The request of a job at Bedrock, from a plan."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ftwizard.plan.platforms.bedrock import MAX_NAME
from ftwizard.plan.schema import Bedrock, Plan
from ftwizard.providers.base import PLAN_SETTING, ProviderError
from ftwizard.runs.remote import RemoteFile, RemoteJob

REINFORCEMENT = "REINFORCEMENT_FINE_TUNING"
JOB_PREFIX = "ftwizard-"
TAG_NAME = "ftwizard_run"
"""Key of the run's tag among the tags of job and model."""
_MARK_DIGITS = 12
_COMMON = ("epochCount", "learningRate")
_SUPERVISED: dict[str, tuple[str, ...]] = {
    "bedrock-nova": (*_COMMON, "learningRateWarmupSteps"),
    "bedrock-llama": (*_COMMON, "batchSize"),
}
"""Hyperparameters by data rules; Bedrock rejects a job with one that its model does not have."""
_REINFORCED = (
    *_COMMON, "batchSize", "maxPromptLength", "trainingSamplePerPrompt", "inferenceMaxTokens",
    "reasoningEffort", "evalInterval",
)  # fmt: skip


def build_request(plan: Plan, remote: RemoteJob, region: str, role: str) -> dict[str, Any]:
    """Return the parameters of ``create_model_customization_job``, and ``region``, as plain JSON.

    ``role``: its ARN. Raises ProviderError without a bucket.
    """
    settings = plan.bedrock
    tags = [{"key": TAG_NAME, "value": remote.tag}]
    request: dict[str, Any] = {
        "region": region,
        "jobName": name_job(remote.tag),
        "customModelName": name_model(settings.suffix, remote.tag),
        "roleArn": role,
        "clientRequestToken": remote.tag,
        "baseModelIdentifier": remote.model,
        "customizationType": settings.customizationType,
        "trainingDataConfig": {"s3Uri": _get_address(remote.files["train"])},
        "outputDataConfig": {"s3Uri": f"{get_folder(settings)}{name_job(remote.tag)}-output/"},
        "jobTags": tags,
        "customModelTags": tags,
    }
    if "validation" in remote.files:
        address = _get_address(remote.files["validation"])
        request["validationDataConfig"] = {"validators": [{"s3Uri": address}]}
    if settings.kms_key:
        request["customModelKmsKeyId"] = settings.kms_key
    if settings.customizationType == REINFORCEMENT:
        request["customizationConfig"] = {"rftConfig": _build_reinforcement(settings)}
    else:
        names = _SUPERVISED.get(plan.target, _COMMON)
        request["hyperParameters"] = {
            name: _to_text(value) for name, value in _list_set(settings, names).items()
        }
    return request


def name_job(tag: str) -> str:
    """Return the name of a run's job, which no other job of the account has, also later."""
    return f"{JOB_PREFIX}{tag}"


def name_model(suffix: str | None, tag: str) -> str:
    """Return the name of the tuned model: the user's suffix, and a mark of the run."""
    return f"{suffix or 'ftwizard'}-{tag[:_MARK_DIGITS]}"[-MAX_NAME:]


def get_folder(settings: Bedrock) -> str:
    """Return the address of the folder in the bucket; raise ProviderError without a bucket."""
    bucket = (settings.bucket or "").strip().removeprefix("s3://").strip("/")
    if not bucket:
        raise ProviderError(
            "rejected",
            "The plan names no S3 bucket for the rows.",
            "Set bedrock.bucket to one in the region of the job.",
            code=PLAN_SETTING,
        )
    prefix = settings.prefix.strip("/")
    return f"s3://{bucket}/{prefix}/" if prefix else f"s3://{bucket}/"


def _list_set(settings: Bedrock, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the settings that have a value: for ``auto``, Bedrock chooses."""
    values = {name: getattr(settings, name) for name in names}
    return {name: value for name, value in values.items() if value != "auto"}


def _build_reinforcement(settings: Bedrock) -> dict[str, Any]:
    return {
        "graderConfig": {"lambdaGrader": {"lambdaArn": settings.grader}},
        "hyperParameters": _list_set(settings, _REINFORCED),
    }


def _to_text(value: Any) -> str:
    """Return a number as Bedrock takes it: digits without an exponent."""
    if isinstance(value, float):
        text = f"{Decimal(repr(value)):f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return str(value)


def _get_address(file: RemoteFile) -> str:
    return file.id or file.name
