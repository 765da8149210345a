"""Bedrock's address for open weights, by the real SDK against the double of the service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.errors import FtwizardError
from ftwizard.graders.grader_file import read_grader
from ftwizard.graders.handler import write_handler
from ftwizard.graders.template import write_template
from ftwizard.plan.checks import check_plan
from ftwizard.plan.schema import Data, Files, Mantle, Model, Plan, Split
from ftwizard.providers.base import ProviderError
from ftwizard.providers.mantle import MantlePlatform
from ftwizard.providers.openai.events import convert_metrics
from ftwizard.providers.platforms import get_platform
from ftwizard.runs.remote import RemoteFile, RemoteJob
from tests.doubles import aws
from tests.doubles.openai_service import RunningService, Scenario, serve
from tests.providers.openai.test_whole_jobs import (
    FUNCTION,
    connect,
    follow,
    make_plan,
    upload_all,
    write_rows,
)

KEY = "bedrock-api-key-Zx81kQ0vTTs93mmP4rUd"


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let boto3 find no credentials, and ask no metadata service for them."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))


def test_a_job_from_its_check_to_its_model(mantle_service: RunningService, tmp_path: Path) -> None:
    platform = connect(mantle_service)
    plan = make_plan(mantle_service, n_epochs=2, batch_size=10)
    assert "openai.gpt-oss-20b" in [model.id for model in platform.list_models()]
    cautions = platform.check_plan(plan)
    assert "grader was not tried" in cautions[-1]
    remote = upload_all(platform, mantle_service, tmp_path, plan)
    assert platform.try_grader(plan, tmp_path / "train.jsonl") == ("", cautions[-1:])
    assert platform.find_job(remote) is None

    job = platform.create_job(platform.build_request(plan, remote))
    again = platform.find_job(remote)
    status, events = follow(platform, job.id)

    assert again is not None and again.id == job.id
    assert (status.state, status.url) == ("succeeded", None)
    rewards = [event.step for event in events if "reward" in event.metrics]
    assert rewards == list(range(1, 21))
    assert all("loss" not in event.metrics for event in events)
    assert any("grad_norm" in event.metrics for event in events)
    assert platform.read_results(status) == []
    checkpoints = platform.list_checkpoints(job.id)
    assert checkpoints[-1].model == status.tuned_model
    endpoint = platform.get_endpoint(status.tuned_model or "", plan)
    assert endpoint and endpoint.address == mantle_service.base_url
    assert endpoint.key_variable == "AWS_BEARER_TOKEN_BEDROCK"
    platform.cancel_job(job.id)  # it has ended
    for file in remote.files.values():
        platform.delete_file(file.id or "")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (Data(files=Files(train="t.jsonl", validation="v.jsonl")), "the file stays here"),
        (Data(files=Files(train="t.jsonl"), split=Split(validation=0.2)), "trains on them"),
    ],
)
def test_validation_rows_are_not_set_aside(
    mantle_service: RunningService, data: Data, words: str
) -> None:
    plan = msgspec.structs.replace(make_plan(mantle_service), data=data)
    assert plan.validation_share == 0
    check_plan(plan)
    assert words in connect(mantle_service).check_plan(plan)[-1]


def test_a_job_is_cancelled_and_never_paused(
    mantle_service: RunningService, tmp_path: Path
) -> None:
    platform, plan = connect(mantle_service), make_plan(mantle_service)
    remote = upload_all(platform, mantle_service, tmp_path, plan)
    job = platform.create_job(platform.build_request(plan, remote))
    while platform.get_job(job.id).state == "pending":
        pass
    for change in (platform.pause_job, platform.resume_job):
        with pytest.raises(ProviderError, match="cannot pause a job"):
            change(job.id)
    platform.cancel_job(job.id)
    assert platform.get_job(job.id).state == "cancelled"


def test_a_request_has_only_what_the_address_takes(mantle_service: RunningService) -> None:
    platform = connect(mantle_service)
    train = RemoteFile(path="t", name="t.jsonl", rows=100, size_bytes=1, id="file-1")
    model = platform.get_model_id(make_plan(mantle_service))
    remote = RemoteJob(provider="mantle", tag="tag-1", model=model, files={"train": train})
    plan = make_plan(mantle_service, n_epochs="auto", learning_rate_multiplier=0.5)

    request = platform.build_request(plan, remote)

    assert request == {
        "model": "openai.gpt-oss-20b",
        "training_file": "file-1",
        "method": {
            "type": "reinforcement",
            "reinforcement": {
                "grader": {"type": "lambda", "lambda": {"function": FUNCTION}},
                "hyperparameters": {"learning_rate_multiplier": 0.5},
            },
        },
    }


def test_too_few_rows_fail_with_the_reason(tmp_path: Path) -> None:
    with serve(Scenario(), mantle=True) as service:
        platform, plan = connect(service), make_plan(service)
        remote = upload_all(platform, service, tmp_path, plan)
        file = service.state.files[remote.files["train"].id or ""] if service.state else None
        assert file is not None
        file.data = b"\n".join(file.data.splitlines()[:99]) + b"\n"
        job = platform.create_job(platform.build_request(plan, remote))
        status, _ = follow(platform, job.id)

    assert status.state == "failed"
    assert "at least 100 examples" in status.error


def test_large_files_are_sent_in_one_request(
    mantle_service: RunningService, tmp_path: Path
) -> None:
    platform = connect(mantle_service)
    assert isinstance(platform, MantlePlatform)
    assert platform.max_direct_bytes == 8 * 2**30
    write_rows(tmp_path / "t.jsonl", mantle_service)
    file_id = platform.upload(tmp_path / "t.jsonl", "t.jsonl", lambda done, total: None)
    assert len(file_id) == 36
    assert platform.find_file("t.jsonl") == file_id


def test_organization_and_project_of_openai_are_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-own")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-own")
    platform = get_platform("mantle", {"AWS_BEARER_TOKEN_BEDROCK": KEY})
    assert isinstance(platform, MantlePlatform)
    for client in (platform.reader, platform.writer):
        values = [value for value in client.default_headers.values() if isinstance(value, str)]
        assert not [value for value in values if value in ("org-own", "proj-own")]
        assert str(client.base_url) == "https://bedrock-mantle.us-west-2.api.aws/v1/"
    assert platform.region == "us-west-2"


def test_a_function_in_another_region_is_refused(mantle_service: RunningService) -> None:
    plan = Plan(
        provider="mantle",
        data=Data(files=Files(train="t.jsonl")),
        model=Model(name="gpt-oss-20b"),
        mantle=Mantle(grader=FUNCTION.replace("west", "east")),
    )
    with pytest.raises(ProviderError, match="in us-west-2, where the job runs") as failure:
        connect(mantle_service).check_plan(plan)
    assert "--region us-west-2" in failure.value.hint


def test_a_wrong_key_names_its_variable_and_is_not_shown() -> None:
    with serve(mantle=True) as service:
        environment = service.environment | {"AWS_BEARER_TOKEN_BEDROCK": KEY}
        with pytest.raises(ProviderError) as failure:
            get_platform("mantle", environment).list_models()
    assert failure.value.kind == "key"
    assert "AWS_BEARER_TOKEN_BEDROCK" in failure.value.message
    assert "12 hours" in failure.value.hint
    assert KEY[-4:] not in failure.value.text


@pytest.mark.parametrize(
    "name", ["val/rewards/mean", "val_critic_rewards_mean", "valid_reward_mean"]
)
def test_rewards_of_validation_are_told_from_those_of_training(name: str) -> None:
    assert convert_metrics({"critic_rewards_mean": 0.5, name: 0.25}) == {
        "reward": 0.5, "eval_reward": 0.25
    }  # fmt: skip


@contextmanager
def serve_function(
    monkeypatch: pytest.MonkeyPatch, path: Path, timeout_s: int = 60, **scenario: Any
) -> Iterator[dict[str, str]]:
    """Yield the environment of an account with a Lambda function, whose code runs in the double."""
    function = aws.AwsFunction(path=str(path), region=aws.WEST, timeout_s=timeout_s)
    for name in aws.UNSET:
        monkeypatch.delenv(name, raising=False)
    with aws.serve_aws(aws.AwsScenario(functions={"exact": function}, **scenario)) as service:
        yield service.environment


def write_function(folder: Path, source: str | None = None) -> Path:
    """Write the files that ``ftwizard grader lambda`` packs; return the handler."""
    (folder / "exact.py").write_text(source or write_template("exact.py"))
    handler = folder / "lambda_function.py"
    handler.write_text(write_handler(read_grader(folder / "exact.py")))
    return handler


def connect_with(service: RunningService, environment: dict[str, str]) -> MantlePlatform:
    platform = get_platform("mantle", {**environment, **service.environment})
    assert isinstance(platform, MantlePlatform)
    return platform


OWN_FUNCTION = f"arn:aws:lambda:{aws.WEST}:{aws.ACCOUNT}:function:exact"


def test_the_function_of_the_template_is_looked_up_and_tried(
    mantle_service: RunningService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_rows(tmp_path / "train.jsonl", mantle_service)
    plan = make_plan(mantle_service)
    plan = msgspec.structs.replace(plan, mantle=Mantle(grader=OWN_FUNCTION))
    with serve_function(monkeypatch, write_function(tmp_path)) as environment:
        platform = connect_with(mantle_service, environment)
        assert not [text for text in platform.check_plan(plan) if "grader" in text]
        tried = platform.try_grader(plan, tmp_path / "train.jsonl")
        assert tried == ("10 rows tried: right answers scored 1, wrong ones 0", [])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return 1", "All answers scored 1"),
        ("return 0", "All 10 right answers scored 0"),
    ],
)
def test_a_function_that_tells_nothing_apart_is_refused(
    mantle_service: RunningService,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    body: str,
    says: str,
) -> None:
    write_rows(tmp_path / "train.jsonl", mantle_service)
    plan = msgspec.structs.replace(make_plan(mantle_service), mantle=Mantle(grader=OWN_FUNCTION))
    path = write_function(tmp_path, f"def grade(sample, item):\n    {body}\n")
    with serve_function(monkeypatch, path, timeout_s=3) as environment:
        platform = connect_with(mantle_service, environment)
        assert any("--timeout 300" in text for text in platform.check_plan(plan))
        trial = platform.describe_trial(plan)
        assert f"the function exact of account {aws.ACCOUNT} grades 10 rows" in trial
        with pytest.raises(FtwizardError, match=says):
            platform.try_grader(plan, tmp_path / "train.jsonl")


def test_a_function_that_fails_or_does_not_exist_refuses_the_job(
    mantle_service: RunningService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_rows(tmp_path / "train.jsonl", mantle_service)
    path = tmp_path / "lambda_function.py"
    path.write_text("def lambda_handler(event, context):\n    raise ValueError('no field')\n")
    plan = make_plan(mantle_service)
    with serve_function(monkeypatch, path) as environment:
        platform = connect_with(mantle_service, environment)
        own = msgspec.structs.replace(plan, mantle=Mantle(grader=OWN_FUNCTION))
        with pytest.raises(ProviderError, match="ValueError: no field"):
            platform.try_grader(own, tmp_path / "train.jsonl")
        other = msgspec.structs.replace(plan, mantle=Mantle(grader=f"{OWN_FUNCTION}-2"))
        with pytest.raises(ProviderError, match="no Lambda function exact-2 in us-west-2"):
            platform.check_plan(other)


def test_without_the_right_to_call_it_the_grader_is_not_tried(
    mantle_service: RunningService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_rows(tmp_path / "train.jsonl", mantle_service)
    plan = msgspec.structs.replace(make_plan(mantle_service), mantle=Mantle(grader=OWN_FUNCTION))
    denied = ("lambda:InvokeFunction",)
    with serve_function(monkeypatch, write_function(tmp_path), denied=denied) as environment:
        platform = connect_with(mantle_service, environment)
        _, [caution] = platform.try_grader(plan, tmp_path / "train.jsonl")
    assert "The grader was not tried" in caution
