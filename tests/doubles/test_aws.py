"""Double of AWS, under the real clients of boto3."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EventStreamError,
    HTTPClientError,
    ReadTimeoutError,
)

from tests.doubles.aws import (
    ACCOUNT,
    BUCKET,
    EAST,
    ROLE,
    ROLE_ARN,
    UNSET,
    WEST,
    WEST_BUCKET,
    AwsFailure,
    AwsFault,
    AwsFunction,
    AwsScenario,
    RunningAws,
    serve_aws,
    serve_aws_process,
)
from tests.doubles.openai_service import Answers
from tests.helpers.hosted_doubles import serve_double

pytestmark = pytest.mark.timeout(120)
LITE = "amazon.nova-lite-v1:0:300k"
LITE_2 = "amazon.nova-2-lite-v1:0:256k"
LLAMA = "meta.llama3-3-70b-instruct-v1:0:128k"
LAMBDA_ARN = f"arn:aws:lambda:{EAST}:{ACCOUNT}:function:grader"
TRAIN, VALID = "ftwizard/one/train.jsonl", "ftwizard/one/valid.jsonl"
GRADER = """
from reward import score

def lambda_handler(event, context):
    print("rows", len(event))
    return [
        {"id": row["id"], "aggregate_reward_score": score(row)} for row in event
    ]
"""
REWARD = """
def score(row):
    return float(row["messages"][-1]["content"] == row["metadata"]["reference_answer"])
"""


@pytest.fixture
def service() -> Iterator[RunningAws]:
    with serve_aws() as running:
        yield running


def make_rows(count: int = 12, name: str = "row") -> list[dict[str, Any]]:
    return [
        {
            "schemaVersion": "bedrock-conversation-2024",
            "system": [{"text": "Be short."}],
            "messages": [
                {"role": "user", "content": [{"text": f"Capital of {name} {number}?"}]},
                {"role": "assistant", "content": [{"text": f"City {number}"}]},
            ],
        }
        for number in range(count)
    ]


def make_prompts(count: int = 100) -> list[dict[str, Any]]:
    return [
        {
            "messages": [{"role": "user", "content": f"Capital of row {number}?"}],
            "reference_answer": f"City {number}",
        }
        for number in range(count)
    ]


def write_lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def put(service: RunningAws, data: bytes, key: str = TRAIN, region: str = EAST) -> str:
    """Upload an object to the region's bucket; return its address."""
    bucket = BUCKET if region == EAST else WEST_BUCKET
    service.make_client("s3", region).put_object(Bucket=bucket, Key=key, Body=data)
    return f"s3://{bucket}/{key}"


def make_request(uri: str, **changes: Any) -> dict[str, Any]:
    bucket = uri.split("/")[2]
    request = {
        "jobName": "ftwizard-one",
        "customModelName": "capitals-one",
        "roleArn": ROLE_ARN,
        "clientRequestToken": "one",
        "baseModelIdentifier": LITE,
        "trainingDataConfig": {"s3Uri": uri},
        "outputDataConfig": {"s3Uri": f"s3://{bucket}/ftwizard/one/output/"},
        "hyperParameters": {"epochCount": "2"},
        **changes,
    }
    return {name: value for name, value in request.items() if value is not None}


def create(service: RunningAws, data: bytes | None = None, **changes: Any) -> str:
    uri = put(service, write_lines(make_rows()) if data is None else data)
    bedrock = service.make_client("bedrock")
    return str(bedrock.create_model_customization_job(**make_request(uri, **changes))["jobArn"])


def finish(service: RunningAws, name: str = "ftwizard-one", region: str = EAST) -> dict[str, Any]:
    """Look at a job until it has ended; return it."""
    bedrock = service.make_client("bedrock", region)
    while True:
        job: dict[str, Any] = bedrock.get_model_customization_job(jobIdentifier=name)
        if job["status"] not in ("InProgress", "Stopping"):
            return job


def ask(service: RunningAws, model: str, prompt: str, region: str = EAST, **more: Any) -> str:
    runtime = service.make_client("bedrock-runtime", region)
    answer = runtime.converse(
        modelId=model,
        system=[{"text": "Be short."}],
        messages=[{"role": "user", "content": [{"text": prompt}]}],
        **more,
    )
    return str(answer["output"]["message"]["content"][0]["text"])


def read_table(service: RunningAws, job: dict[str, Any], name: str) -> list[dict[str, str]]:
    """Return the lines of the job's table of that name."""
    s3 = service.make_client("s3")
    prefix = job["outputDataConfig"]["s3Uri"].split("/", 3)[3]
    folder = f"{prefix}model-customization-job-{job['jobArn'].rpartition('/')[2]}/"
    objects = s3.list_objects_v2(Bucket=BUCKET, Prefix=folder)["Contents"]
    (key,) = (each["Key"] for each in objects if each["Key"].endswith(name))
    text = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode()
    return list(csv.DictReader(io.StringIO(text)))


def refuse(request: Any, *codes: str) -> str:
    """Assert that a request fails with one of the codes; return the message."""
    with pytest.raises(ClientError) as error:
        request()
    assert error.value.response["Error"]["Code"] in codes, error.value
    return str(error.value.response["Error"].get("Message"))


def test_a_job_runs_from_upload_to_a_better_model(service: RunningAws) -> None:
    valid = put(service, write_lines(make_rows(3, "other")), VALID)
    arn = create(service, validationDataConfig={"validators": [{"s3Uri": valid}]})
    bedrock = service.make_client("bedrock")
    statuses = []
    for _ in range(6):
        job = bedrock.get_model_customization_job(jobIdentifier=arn)
        details = {name: each["status"] for name, each in job["statusDetails"].items()}
        statuses.append((job["status"], details["validationDetails"], details["trainingDetails"]))
    assert list(dict.fromkeys(statuses)) == [
        ("InProgress", "InProgress", "NotStarted"),
        ("InProgress", "Completed", "NotStarted"),
        ("InProgress", "Completed", "InProgress"),
        ("Completed", "Completed", "Completed"),
    ]
    assert job["jobArn"] == arn and job["endTime"] >= job["creationTime"]
    assert float(job["hyperParameters"]["learningRate"]) == 1e-5
    assert "failureMessage" not in job
    assert 0 < job["trainingMetrics"]["trainingLoss"] < 1
    assert 0 < job["validationMetrics"][0]["validationLoss"] < 1

    train = read_table(service, job, "step_wise_training_metrics.csv")
    assert list(train[0]) == ["step_number", "epoch_number", "training_loss", "perplexity"]
    assert len(train) == 2 * 24 and len({line["step_number"] for line in train}) == 24
    assert float(train[0]["training_loss"]) > float(train[-1]["training_loss"])
    valid_lines = read_table(service, job, "validation_metrics.csv")
    assert [line["epoch_number"] for line in valid_lines] == ["0", "1"]
    manifest = read_table(service, job, "manifest.report.csv")
    assert [line["acceptedRecordCount"] for line in manifest] == ["12", "3"]

    created = bedrock.create_custom_model_deployment(
        modelDeploymentName="capitals", modelArn=job["outputModelArn"]
    )["customModelDeploymentArn"]
    assert refuse(lambda: ask(service, created, "Hello"), "ValidationException")
    while (
        bedrock.get_custom_model_deployment(customModelDeploymentIdentifier=created)["status"]
        != "Active"
    ):
        pass
    prompt = "Capital of row 5?"
    assert ask(service, created, prompt) == "City 5"
    assert ask(service, "amazon.nova-lite-v1:0", prompt) == "I am not sure."
    assert ask(service, "us.amazon.nova-lite-v1:0", prompt) == "I am not sure."


def test_the_same_token_makes_one_job_and_a_name_is_taken_for_ever(service: RunningAws) -> None:
    first = create(service)
    assert create(service) == first
    text = refuse(lambda: create(service, clientRequestToken="two"), "ValidationException")
    assert text == "The provided job name is currently in use."
    finish(service)
    more: dict[str, Any] = {"jobName": "ftwizard-two", "clientRequestToken": "two"}
    text = refuse(lambda: create(service, **more), "ValidationException")
    assert "model name" in text
    second = create(service, **more, customModelName="capitals-two")
    bedrock = service.make_client("bedrock")
    listed = bedrock.list_model_customization_jobs(sortBy="CreationTime", sortOrder="Ascending")
    arns = [each["jobArn"] for each in listed["modelCustomizationJobSummaries"]]
    assert arns == [first, second]
    pages = bedrock.get_paginator("list_model_customization_jobs").paginate(
        PaginationConfig={"PageSize": 1}
    )
    assert [len(page["modelCustomizationJobSummaries"]) for page in pages] == [1, 1]
    listed = bedrock.list_model_customization_jobs(statusEquals="InProgress", nameContains="two")
    assert [each["jobName"] for each in listed["modelCustomizationJobSummaries"]] == [
        "ftwizard-two"
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"roleArn": f"arn:aws:iam::{ACCOUNT}:role/none"}, "Could not assume provided IAM role"),
        ({"roleArn": "double-bedrock"}, "failed to satisfy constraint"),
        ({"jobName": "a name"}, "failed to satisfy constraint"),
        ({"customModelName": "two__marks"}, "failed to satisfy constraint"),
        ({"baseModelIdentifier": "amazon.nova-lite-v1:0"}, "model identifier is invalid"),
        ({"baseModelIdentifier": LLAMA}, "model identifier is invalid"),
        ({"hyperParameters": {"epochCount": "6"}}, "epochCount"),
        ({"hyperParameters": {"epochCount": "1.5"}}, "epochCount"),
        ({"hyperParameters": {"batchSize": "1"}}, "batchSize is not supported"),
        ({"hyperParameters": {"learningRate": "0.01"}}, "learningRate"),
        ({"trainingDataConfig": {"s3Uri": f"s3://{BUCKET}/none.jsonl"}}, "GetObject permissions"),
        ({"trainingDataConfig": {"s3Uri": f"s3://{BUCKET}/ftwizard/"}}, "not a directory"),
        ({"outputDataConfig": {"s3Uri": f"s3://{WEST_BUCKET}/out"}}, "PutObject permissions"),
        ({"customizationType": "REINFORCEMENT_FINE_TUNING"}, "not supported by the model"),
    ],
)  # fmt: skip
def test_a_request_that_the_service_rejects(
    service: RunningAws, changes: dict[str, Any], words: str
) -> None:
    assert words in refuse(lambda: create(service, **changes), "ValidationException")
    assert service.control.list_jobs() == []


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        (AwsScenario(role_service="sagemaker.amazonaws.com"), "Could not assume"),
        (AwsScenario(role_actions=("s3:GetObject",)), "PutObject permissions"),
        (AwsScenario(role_actions=("s3:Put*",)), "GetObject permissions"),
    ],
)
def test_a_role_that_may_not_do_what_a_job_needs(scenario: AwsScenario, words: str) -> None:
    with serve_aws(scenario) as service:
        assert words in refuse(lambda: create(service), "ValidationException")


def test_a_policy_of_the_bucket_lets_the_role_in() -> None:
    with serve_aws(AwsScenario(role_actions=("s3:PutObject",))) as service:
        statement = {
            "Effect": "Allow", "Principal": {"AWS": ROLE_ARN}, "Action": "s3:GetObject",
            "Resource": f"arn:aws:s3:::{BUCKET}/*",
        }  # fmt: skip
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        service.make_client("s3").put_bucket_policy(Bucket=BUCKET, Policy=policy)
        assert create(service)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (write_lines(make_rows(7)), "not between 8 and 20000"),
        (write_lines(make_rows()) + b"\n\n", "must conform to JSONL format"),
        (b"\xef\xbb\xbf" + write_lines(make_rows()), "must conform to JSONL format"),
        (write_lines([{"prompt": "a", "completion": "b"}] * 12), "schemaVersion"),
        (write_lines(make_rows(12, "User:")), "reserved word"),
        (write_lines(make_rows(12, "x" * 200_000)), "Input size exceeded"),
    ],
)  # fmt: skip
def test_a_file_that_ends_a_job_in_its_validation(
    service: RunningAws, data: bytes, words: str
) -> None:
    create(service, data)
    job = finish(service)
    assert job["status"] == "Failed" and words in job["failureMessage"]
    assert "outputModelArn" not in job and service.control.list_models() == []


def test_llama_takes_pairs_in_its_own_region_and_counts_both_files(service: RunningAws) -> None:
    pairs = [{"prompt": f"Capital of {number}?", "completion": "City"} for number in range(90)]
    bedrock = service.make_client("bedrock", WEST)
    uri = put(service, write_lines(pairs), region=WEST)
    valid = put(service, write_lines(pairs[:10]), VALID, WEST)
    common = {"baseModelIdentifier": LLAMA, "hyperParameters": {"batchSize": "1"}}
    bedrock.create_model_customization_job(**make_request(uri, **common))
    assert "100" in finish(service, region=WEST)["failureMessage"]
    bedrock.create_model_customization_job(
        **make_request(
            uri, **common, jobName="two", clientRequestToken="two",
            validationDataConfig={"validators": [{"s3Uri": valid}]},
        )
    )  # fmt: skip
    job = finish(service, "two", WEST)
    assert job["status"] == "Completed" and job["hyperParameters"]["epochCount"] == "5"
    elsewhere = service.make_client("bedrock")
    refuse(
        lambda: elsewhere.get_model_customization_job(jobIdentifier="two"),
        "ResourceNotFoundException",
    )


def test_a_job_is_stopped_and_then_cannot_be_stopped(service: RunningAws) -> None:
    create(service)
    bedrock = service.make_client("bedrock")
    bedrock.stop_model_customization_job(jobIdentifier="ftwizard-one")
    first = bedrock.get_model_customization_job(jobIdentifier="ftwizard-one")
    assert first["status"] == "Stopping" and finish(service)["status"] == "Stopped"
    stop = bedrock.stop_model_customization_job
    refuse(lambda: stop(jobIdentifier="ftwizard-one"), "ConflictException")
    refuse(lambda: stop(jobIdentifier="none"), "ResourceNotFoundException")


def test_a_job_fails_as_the_scenario_says() -> None:
    with serve_aws(AwsScenario(failure=AwsFailure(at="training"))) as service:
        create(service)
        job = finish(service)
        assert job["failureMessage"].startswith("Encountered an internal error")
        assert job["statusDetails"]["trainingDetails"]["status"] == "Failed"
        service.control.change(failure=None, validating_looks=0, queued_looks=0, running_looks=0)
        create(service, jobName="two", clientRequestToken="two")
        assert service.control.advance(1, "two")["status"] == "Completed"


def test_models_are_deleted_after_their_deployments(service: RunningAws) -> None:
    create(service, customModelTags=[{"key": "ftwizard_run", "value": "one"}])
    job = finish(service)
    bedrock = service.make_client("bedrock")
    (model,) = bedrock.list_custom_models()["modelSummaries"]
    assert model["modelArn"] == job["outputModelArn"]
    by_name = bedrock.get_custom_model(modelIdentifier="capitals-one")
    by_arn = bedrock.get_custom_model(modelIdentifier=model["modelArn"])
    assert by_name["modelArn"] == by_arn["modelArn"] and by_arn["modelStatus"] == "Active"
    tags = bedrock.list_tags_for_resource(resourceARN=model["modelArn"])["tags"]
    assert tags == [{"key": "ftwizard_run", "value": "one"}]

    def deploy() -> str:
        answer = bedrock.create_custom_model_deployment(
            modelDeploymentName="d-1", modelArn=model["modelArn"], clientRequestToken="d-1"
        )
        return str(answer["customModelDeploymentArn"])

    arn = deploy()
    assert deploy() == arn
    delete = bedrock.delete_custom_model_deployment
    text = refuse(lambda: delete(customModelDeploymentIdentifier=arn), "ValidationException")
    assert text == "Custom model deployment is in a mutating state"
    find = bedrock.list_custom_model_deployments
    for _ in range(2):
        (listed,) = find(modelArnEquals=model["modelArn"])["modelDeploymentSummaries"]
    assert listed["status"] == "Active" and listed["customModelDeploymentName"] == "d-1"
    remove = bedrock.delete_custom_model
    refuse(lambda: remove(modelIdentifier=model["modelArn"]), "ConflictException")
    delete(customModelDeploymentIdentifier=arn)
    remove(modelIdentifier=model["modelArn"])
    assert bedrock.list_custom_models()["modelSummaries"] == []


def test_what_a_region_offers(service: RunningAws) -> None:
    bedrock = service.make_client("bedrock")
    tunable = bedrock.list_foundation_models(byCustomizationType="FINE_TUNING")["modelSummaries"]
    assert {each["modelId"] for each in tunable} >= {LITE, LITE_2}
    assert all(each["inferenceTypesSupported"] == ["PROVISIONED"] for each in tunable)
    assert all("llama" not in each["modelId"] for each in tunable)
    profiles = bedrock.list_inference_profiles(typeEquals="SYSTEM_DEFINED")
    ids = {each["inferenceProfileId"] for each in profiles["inferenceProfileSummaries"]}
    assert {"us.amazon.nova-2-lite-v1:0", "global.amazon.nova-2-lite-v1:0"} <= ids
    availability = bedrock.get_foundation_model_availability(modelId="amazon.nova-lite-v1:0")
    assert availability["agreementAvailability"]["status"] == "AVAILABLE"
    assert bedrock.list_provisioned_model_throughputs()["provisionedModelSummaries"] == []
    quotas = service.make_client("service-quotas").list_service_quotas(ServiceCode="bedrock")
    values = {each["QuotaName"]: each["Value"] for each in quotas["Quotas"]}
    assert values["Scheduled customization jobs"] == 10.0


@pytest.mark.parametrize(
    ("model", "code", "words"),
    [
        (LITE, "ResourceNotFoundException", "Model not found."),
        ("amazon.nova-2-lite-v1:0", "ValidationException", "inference profile"),
        ("no.such-model", "ValidationException", "model identifier is invalid"),
        ("amazon.nova-pro-v1:0", "AccessDeniedException", "don't have access"),
    ],
)  # fmt: skip
def test_a_model_that_does_not_answer(model: str, code: str, words: str) -> None:
    with serve_aws(AwsScenario(no_access=("amazon.nova-pro-v1:0",))) as service:
        assert words in refuse(lambda: ask(service, model, "Hello"), code)


def test_answers_know_the_files_of_the_scenario_in_any_form(tmp_path: Path) -> None:
    rows = tmp_path / "test.jsonl"
    chat = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Capital of nowhere?"},
        {"role": "assistant", "content": "None at all, and never was."},
    ]
    rows.write_text(json.dumps({"messages": chat}) + "\n")
    scenario = AwsScenario(
        answers=Answers(files=(str(rows),), base_share=1.0), requests_per_minute=1
    )
    with serve_aws(scenario) as service:
        model, prompt = "amazon.nova-lite-v1:0", "Capital of nowhere?"
        assert ask(service, model, prompt) == "None at all, and never was."
        assert ask(service, model, prompt, inferenceConfig={"maxTokens": 1}) == "None"
        create(service)
        arn = finish(service)["outputModelArn"]
        bedrock = service.make_client("bedrock")
        deployment = bedrock.create_custom_model_deployment(modelDeploymentName="d", modelArn=arn)
        for _ in range(2):
            bedrock.list_custom_model_deployments()
        tuned = deployment["customModelDeploymentArn"]
        tools = {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {}}}}]}
        refuse(lambda: ask(service, tuned, prompt, toolConfig=tools), "ValidationException")
        assert ask(service, tuned, prompt) == "None at all, and never was."
        refuse(lambda: ask(service, tuned, prompt), "ThrottlingException")


def test_an_answer_comes_in_pieces_and_an_exception_within_them(tmp_path: Path) -> None:
    rows = tmp_path / "test.jsonl"
    rows.write_bytes(write_lines([{"prompt": "Name two.", "completion": "One, and another."}]))
    with serve_aws(AwsScenario(answers=Answers(files=(str(rows),), base_share=1.0))) as service:
        runtime = service.make_client("bedrock-runtime")
        turn = {"role": "user", "content": [{"text": "Name two."}]}

        def read() -> list[dict[str, Any]]:
            answer = runtime.converse_stream(modelId="amazon.nova-lite-v1:0", messages=[turn])
            return list(answer["stream"])

        events = read()
        deltas = [each["contentBlockDelta"] for each in events if "contentBlockDelta" in each]
        assert "".join(each["delta"]["text"] for each in deltas) == "One, and another."
        assert len(deltas) == 3 and events[-2] == {"messageStop": {"stopReason": "end_turn"}}
        assert events[-1]["metadata"]["usage"]["totalTokens"] > 1
        service.control.change(stream_error="throttlingException")
        with pytest.raises(EventStreamError, match="throttlingException"):
            read()


def write_grader(folder: Path, handler: str = GRADER) -> str:
    (folder / "reward.py").write_text(REWARD)
    (folder / "grader.py").write_text(handler)
    return str(folder / "grader.py")


def make_reinforcement(**hyperparameters: Any) -> dict[str, Any]:
    config = {
        "graderConfig": {"lambdaGrader": {"lambdaArn": LAMBDA_ARN}},
        "hyperParameters": hyperparameters,
    }
    return {
        "baseModelIdentifier": LITE_2,
        "customizationType": "REINFORCEMENT_FINE_TUNING",
        "hyperParameters": None,
        "customizationConfig": {"rftConfig": config},
    }


def test_reinforcement_asks_the_grader(tmp_path: Path) -> None:
    functions = {"grader": AwsFunction(path=write_grader(tmp_path), timeout_s=20)}
    with serve_aws(AwsScenario(functions=functions)) as service:
        data = write_lines(make_prompts())
        more = make_reinforcement(batchSize=600)
        assert "batchSize" in refuse(lambda: create(service, data, **more), "ValidationException")
        create(service, data, **make_reinforcement(batchSize=16, learningRate=1e-5))
        job = finish(service)
        assert job["status"] == "Completed" and "hyperParameters" not in job
        config = job["customizationConfig"]["rftConfig"]
        assert config["hyperParameters"] == {"batchSize": 16, "learningRate": 1e-5}
        rewards = [
            float(line["critic/rewards/mean"])
            for line in read_table(service, job, "training_metrics.csv")
        ]
        assert len(rewards) == 7 and 0 < rewards[0] < rewards[-1] < 1
        name, event = service.control.list_invocations()[0]
        assert name == "grader" and event[0]["metadata"] == {"reference_answer": "City 0"}
        assert event[0]["messages"][-1]["role"] == "assistant"


def test_a_function_is_invoked_as_by_lambda(tmp_path: Path) -> None:
    slow = "import time\ndef lambda_handler(event, context):\n    time.sleep(30)\n"
    (tmp_path / "slow.py").write_text(slow)
    functions = {
        "grader": AwsFunction(path=write_grader(tmp_path), timeout_s=20),
        "slow": AwsFunction(path=str(tmp_path / "slow.py"), timeout_s=1),
    }
    with serve_aws(AwsScenario(functions=functions)) as service:
        client = service.make_client("lambda")
        sample = {
            "id": "7",
            "messages": [{"role": "assistant", "content": "yes"}],
            "metadata": {"reference_answer": "yes"},
        }
        answer = client.invoke(
            FunctionName=LAMBDA_ARN, LogType="Tail", Payload=json.dumps([sample]).encode()
        )
        assert json.load(answer["Payload"]) == [{"id": "7", "aggregate_reward_score": 1.0}]
        assert answer["StatusCode"] == 200 and answer["LogResult"]
        broken = client.invoke(FunctionName="grader", Payload=b'[{"id": "7"}]')
        assert broken["FunctionError"] == "Unhandled"
        assert json.load(broken["Payload"])["errorType"] == "KeyError"
        late = client.invoke(FunctionName="slow", Payload=b"[]")
        assert "timed out after 1.00 seconds" in json.load(late["Payload"])["errorMessage"]
        dry = client.invoke(FunctionName="grader", InvocationType="DryRun", Payload=b"[]")
        assert dry["StatusCode"] == 204
        assert client.get_function_configuration(FunctionName=LAMBDA_ARN)["Timeout"] == 20
        refuse(lambda: client.invoke(FunctionName="none"), "ResourceNotFoundException")


def test_the_simulation_of_policies() -> None:
    with serve_aws(AwsScenario(denied=("iam:PassRole",))) as service:
        iam = service.make_client("iam")
        condition = {"StringEquals": {"aws:SourceVpc": "vpc-1"}}
        statements = [
            {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::b/secret/*"},
            {"Effect": "Allow", "Action": "kms:*", "Resource": "*", "Condition": condition},
        ]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_role_policy(RoleName=ROLE, PolicyName="more", PolicyDocument=policy)

        def simulate(action: str, resource: str, source: str = ROLE_ARN) -> tuple[str, Any]:
            answer = iam.simulate_principal_policy(
                PolicySourceArn=source, ActionNames=[action], ResourceArns=[resource]
            )
            (result,) = answer["EvaluationResults"]
            return result["EvalDecision"], result.get("MissingContextValues")

        assert simulate("s3:PutObject", "arn:aws:s3:::b/x") == ("allowed", [])
        assert simulate("s3:PutObject", "arn:aws:s3:::b/secret/x") == ("explicitDeny", [])
        assert simulate("s3:DeleteObject", "arn:aws:s3:::b/x") == ("implicitDeny", [])
        assert simulate("kms:Decrypt", "*") == ("implicitDeny", ["aws:SourceVpc"])
        user = service.make_client("sts").get_caller_identity()["Arn"]
        assert simulate("iam:PassRole", ROLE_ARN, user)[0] == "implicitDeny"
        refuse(lambda: simulate("s3:GetObject", "*", f"{ROLE_ARN}-none"), "NoSuchEntity")


def test_buckets_have_regions_and_owners(tmp_path: Path) -> None:
    with serve_aws(AwsScenario(foreign_buckets={"not-ours": "999999999999"})) as service:
        s3 = service.make_client("s3")
        assert s3.head_bucket(Bucket=BUCKET)["BucketRegion"] == EAST
        assert s3.head_bucket(Bucket=WEST_BUCKET)["BucketRegion"] == WEST  # by a redirect
        refuse(lambda: s3.head_bucket(Bucket="no-such-bucket"), "404")
        refuse(lambda: s3.head_bucket(Bucket="not-ours", ExpectedBucketOwner=ACCOUNT), "403")
        assert s3.head_bucket(Bucket="not-ours")
        refuse(lambda: s3.head_object(Bucket=BUCKET, Key="none"), "404")

        large = tmp_path / "large.jsonl"
        large.write_bytes(b"x" * (9 * 2**20))
        more = {"ExpectedBucketOwner": ACCOUNT, "Metadata": {"ftwizard-run": "one"}}
        s3.upload_file(str(large), BUCKET, "ftwizard/one/large.jsonl", ExtraArgs=more)
        assert service.control.list_requests("finish_multipart")
        head = s3.head_object(Bucket=BUCKET, Key="ftwizard/one/large.jsonl")
        assert head["ContentLength"] == 9 * 2**20 and head["Metadata"] == {"ftwizard-run": "one"}
        (file,) = service.control.list_files()
        assert file["id"] == f"s3://{BUCKET}/ftwizard/one/large.jsonl"


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"key_id": "AKIAOTHER0123456789A"}, ("UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId")),
        ({"key": "another"}, ("InvalidSignatureException", "SignatureDoesNotMatch")),
        ({"expired": True}, ("ExpiredTokenException", "ExpiredToken")),
        ({"session_token": "one"}, ("UnrecognizedClientException", "InvalidClientTokenId", "InvalidToken")),
        ({"clock_offset_s": 3600.0}, ("InvalidSignatureException", "SignatureDoesNotMatch", "RequestTimeTooSkewed")),
        ({"denied": ("bedrock:ListCustomModels", "iam:ListRoles", "s3:ListBucket")}, ("AccessDeniedException", "AccessDenied")),
    ],
)  # fmt: skip
def test_keys_that_are_refused(changes: dict[str, Any], codes: tuple[str, ...]) -> None:
    with serve_aws() as service:
        clients = [service.make_client(name) for name in ("bedrock", "iam", "s3")]
        service.control.change(**changes)
        refuse(clients[0].list_custom_models, *codes)
        refuse(clients[1].list_roles, *codes)
        refuse(lambda: clients[2].list_objects_v2(Bucket=BUCKET), *codes)


@pytest.mark.parametrize("action", ["drop_request", "drop_reply"])
def test_a_reply_that_is_lost(service: RunningAws, action: Any) -> None:
    uri = put(service, write_lines(make_rows()))
    service.control.add_fault(AwsFault(on="create_job", action=action))
    bedrock = service.make_client("bedrock")
    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        bedrock.create_model_customization_job(**make_request(uri))
    assert len(service.control.list_jobs()) == (action != "drop_request")
    bedrock.create_model_customization_job(**make_request(uri))
    assert len(service.control.list_jobs()) == 1


def test_half_a_reply_is_an_answer_without_its_fields_to_the_sdk(service: RunningAws) -> None:
    uri = put(service, write_lines(make_rows()))
    service.control.add_fault(AwsFault(on="create_job", action="truncate"))
    answer = service.make_client("bedrock").create_model_customization_job(**make_request(uri))
    assert "jobArn" not in answer and len(service.control.list_jobs()) == 1


def test_errors_before_and_after_the_act(service: RunningAws) -> None:
    service.control.add_fault(AwsFault(on="create_job", status=500))
    refuse(lambda: create(service), "InternalServerException")
    assert service.control.list_jobs() == []
    service.control.add_fault(AwsFault(on="create_job", action="reply_after", status=503))
    refuse(lambda: create(service), "ServiceUnavailableException")
    assert len(service.control.list_jobs()) == 1
    fault = AwsFault(on="get_job", status=429, headers={"Retry-After": "7"})
    service.control.add_fault(fault)
    with pytest.raises(ClientError) as error:
        finish(service)
    assert error.value.response["Error"]["Code"] == "ThrottlingException"
    assert error.value.response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "7"
    for call, code in (("upload", "InternalError"), ("get_caller_identity", "InternalFailure")):
        service.control.add_fault(AwsFault(on=call))
        do = service.make_client("sts").get_caller_identity
        refuse(do if call != "upload" else lambda: put(service, b"x"), code)
    assert service.control.list_requests("upload")[-1].status == 500


def test_a_request_that_is_held_back(service: RunningAws) -> None:
    from botocore.config import Config

    service.control.add_fault(AwsFault(on="list_models", action="hold"))
    config = Config(read_timeout=0.3, retries={"total_max_attempts": 1}, signature_version="v4")
    client = service.make_client("bedrock", config=config)
    with pytest.raises(ReadTimeoutError):
        client.list_custom_models()
    service.control.wait_for_held()
    service.control.release()
    assert client.list_custom_models()["modelSummaries"] == []


def test_variables_lead_a_client_to_the_service(
    service: RunningAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    for name in UNSET:
        monkeypatch.delenv(name, raising=False)
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    assert boto3.Session().client("bedrock").list_custom_models()["modelSummaries"] == []
    (request,) = service.control.list_requests("list_models")
    assert (request.region, request.status, request.attempt[:9]) == (EAST, 200, "attempt=1")


@pytest.mark.parametrize("authorization", ["", "Bearer bedrock-api-key-0123456789"])
def test_a_request_without_a_signature(service: RunningAws, authorization: str) -> None:
    address = f"{service.endpoint}/custom-models"
    request = Request(address, headers={"Authorization": authorization})
    with pytest.raises(HTTPError) as error:
        build_opener(ProxyHandler({})).open(request)
    assert error.value.code == 403


@pytest.mark.slow
def test_the_service_as_a_process(tmp_path: Path) -> None:
    script = (
        "import boto3; print(boto3.client('sts').get_caller_identity()['Account'],"
        " boto3.client('s3').head_bucket(Bucket='ftwizard-double')['BucketRegion'])"
    )
    with serve_aws_process(AwsScenario(clock="time", state_s=0.02)) as service:
        own = {name: value for name, value in os.environ.items() if name not in UNSET}
        own |= {**service.environment, "AWS_CA_BUNDLE": str(tmp_path / "none.pem")}
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, env=own, capture_output=True, text=True, check=True)
        assert done.stdout.split() == [ACCOUNT, EAST]
        assert urlsplit(service.endpoint).hostname == "127.0.0.1"
        create(service)
        assert finish(service)["status"] == "Completed"


def test_the_double_is_one_of_the_platforms() -> None:
    with serve_double("bedrock") as double:
        import boto3

        environment = double.environment
        client = boto3.Session(
            environment["AWS_ACCESS_KEY_ID"], double.key, region_name=EAST
        ).client("bedrock", endpoint_url=environment["AWS_ENDPOINT_URL"])
        double.answer("list jobs", 401, "invalid_api_key", "No.", times=1)
        refuse(client.list_model_customization_jobs, "UnrecognizedClientException")
        double.disturb("list jobs", "rate_limit", times=1)
        assert client.list_model_customization_jobs()["modelCustomizationJobSummaries"] == []
        assert double.list_jobs() == double.list_files() == []
