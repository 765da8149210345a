"""The request of a job at Bedrock: what AWS's own model of the API takes, with numbers as text."""

from __future__ import annotations

import json
from typing import Any

import boto3
import msgspec
import pytest
from botocore.validate import ParamValidator

from ftwizard.plan.schema import Bedrock
from ftwizard.providers.base import PLAN_SETTING, ProviderError
from ftwizard.providers.bedrock.request import (
    REINFORCEMENT,
    build_request,
    get_folder,
    name_model,
)
from tests.doubles.aws import BUCKET, ROLE_ARN
from tests.providers.bedrock.plans import GRADER, SETTINGS, TAG, make_plan, make_remote


def build(settings: Bedrock = SETTINGS, model: str = "nova-lite", **kwargs: Any) -> dict[str, Any]:
    return build_request(make_plan(settings, model), make_remote(**kwargs), "us-east-1", ROLE_ARN)


def validate(request: dict[str, Any]) -> None:
    """Check a request by the API's own model."""
    parameters = dict(json.loads(json.dumps(request)))
    assert parameters.pop("region") == "us-east-1"
    client = boto3.client("bedrock", region_name="us-east-1")
    operation = client.meta.service_model.operation_model("CreateModelCustomizationJob")
    report = ParamValidator().validate(parameters, operation.input_shape)
    assert not report.has_errors(), report.generate_report()


def test_a_supervised_request() -> None:
    settings = msgspec.structs.replace(
        SETTINGS, epochCount=3, learningRate=1e-5, learningRateWarmupSteps=10, suffix="tickets",
        kms_key="arn:aws:kms:us-east-1:123456789012:key/1",
    )  # fmt: skip
    request = build(settings)
    validate(request)

    folder = f"s3://{BUCKET}/ftwizard/ftwizard-{TAG}"
    assert request == {
        "region": "us-east-1",
        "jobName": f"ftwizard-{TAG}",
        "customModelName": "tickets-0123456789ab",
        "roleArn": ROLE_ARN,
        "clientRequestToken": TAG,
        "baseModelIdentifier": "amazon.nova-lite-v1:0:300k",
        "customizationType": "FINE_TUNING",
        "trainingDataConfig": {"s3Uri": f"{folder}-train.jsonl"},
        "validationDataConfig": {"validators": [{"s3Uri": f"{folder}-validation.jsonl"}]},
        "outputDataConfig": {"s3Uri": f"{folder}-output/"},
        "hyperParameters": {
            "epochCount": "3", "learningRate": "0.00001", "learningRateWarmupSteps": "10"
        },
        "customModelKmsKeyId": "arn:aws:kms:us-east-1:123456789012:key/1",
        "jobTags": [{"key": "ftwizard_run", "value": TAG}],
        "customModelTags": [{"key": "ftwizard_run", "value": TAG}],
    }  # fmt: skip


def test_only_what_the_model_has_is_sent() -> None:
    settings = msgspec.structs.replace(SETTINGS, batchSize=1, learningRateWarmupSteps=5)
    assert build(settings)["hyperParameters"] == {
        "epochCount": "2", "learningRateWarmupSteps": "5"
    }  # fmt: skip
    llama = build(settings, "llama-3.3-70b", validation=False)
    assert llama["hyperParameters"] == {"epochCount": "2", "batchSize": "1"}
    assert "validationDataConfig" not in llama


def test_a_reinforcement_request_has_numbers_and_its_grader() -> None:
    settings = msgspec.structs.replace(
        SETTINGS, customizationType=REINFORCEMENT, grader=GRADER, batchSize=32, learningRate=5e-5,
        reasoningEffort="low", evalInterval=50,
    )  # fmt: skip
    request = build(settings, "nova-2-lite")
    validate(request)
    assert "hyperParameters" not in request
    assert request["customizationConfig"]["rftConfig"] == {
        "graderConfig": {"lambdaGrader": {"lambdaArn": GRADER}},
        "hyperParameters": {
            "epochCount": 2, "batchSize": 32, "learningRate": 5e-5, "reasoningEffort": "low",
            "evalInterval": 50,
        },
    }  # fmt: skip


def test_the_folder_is_in_the_bucket_of_the_plan() -> None:
    assert get_folder(Bedrock(bucket="s3://b/", prefix="/a/b/")) == "s3://b/a/b/"
    assert get_folder(Bedrock(bucket="b", prefix="")) == "s3://b/"
    with pytest.raises(ProviderError, match="no S3 bucket") as failure:
        get_folder(Bedrock())
    assert failure.value.code == PLAN_SETTING and "bedrock.bucket" in failure.value.hint


def test_the_models_name_has_a_mark_of_the_run() -> None:
    assert name_model(None, TAG) == "ftwizard-0123456789ab"
    assert len(name_model("a" * 40, TAG)) <= 63
