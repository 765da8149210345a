"""Deployments at Bedrock, which are free while nobody asks them, and its tuned models, which are billed."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.__main__ import main
from ftwizard.errors import FAILED, USAGE
from ftwizard.evaluate import endpoint
from ftwizard.evaluate.endpoint import EndpointAnswerer
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.run.hosted import make_arm
from ftwizard.jobs.folder import JobFolder, State, write_json
from ftwizard.plan import plan_file
from ftwizard.providers import deployments
from ftwizard.providers.base import ProviderError
from ftwizard.providers.endpoints import find_endpoints
from ftwizard.runs import hosted, next_steps, remote
from ftwizard.runs.evaluation import ItemAnswer
from ftwizard.runs.remote import RemoteJob
from ftwizard.runs.result import RunResult
from tests.doubles.aws import (
    BUCKET,
    EAST,
    ROLE_ARN,
    UNSET,
    AwsFault,
    AwsScenario,
    RunningAws,
    serve_aws,
)
from tests.helpers.followed_jobs import create_run, run_follower, run_worker
from tests.helpers.hosted import make_ended, make_remote
from tests.helpers.jobs import events

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningAws]:
    monkeypatch.setenv("FTWIZARD_POLL_S", "0.01")
    monkeypatch.setattr(deployments, "POLL_S", 0.001)
    monkeypatch.setattr("ftwizard.providers.bedrock.endpoints.DELETE_POLL_S", 0.001)
    for name in (*UNSET, "OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "TOGETHER_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with serve_aws(AwsScenario(steps=4)) as served:
        for name, value in served.environment.items():
            monkeypatch.setenv(name, value)
        yield served


@pytest.fixture
def run(service: RunningAws, tmp_path: Path) -> JobFolder:
    """A run whose job has succeeded."""
    settings = {"region": EAST, "bucket": BUCKET, "role": ROLE_ARN}
    folder = create_run(tmp_path, "bedrock", model="nova-lite", bedrock=settings)
    record = run_follower(folder)
    assert isinstance(record, RemoteJob), record
    write_json(folder.state, State(state="ended", attempt=1, end_reason="finished", started=1.0))
    return folder


def read(folder: JobFolder) -> RemoteJob:
    record = remote.read(folder)
    assert record is not None
    return record


def run_json(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def answer(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    stream = io.StringIO("".join(f"{line}\n" for line in lines))
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", stream)


def list_names(service: RunningAws) -> list[str]:
    assert service.state is not None
    return [deployment.name for deployment in service.state.deployments.values()]


def ask(folder: JobFolder, prompt: str) -> ItemAnswer:
    """Return the answer of the run's tuned model."""
    plan = plan_file.read_run(folder)
    arm = make_arm("tuned", find_endpoints(folder, read(folder), plan).tuned, plan)
    message = {"role": "user", "content": prompt}
    item = Item(id="i", set="target", messages=[message], scorer="answered", max_tokens=50)
    answers: list[ItemAnswer] = []
    EndpointAnswerer(arm).answer([item], lambda item, answer: answers.append(answer))
    return answers[0]


def test_a_model_is_deployed_asked_and_removed(
    run: JobFolder, service: RunningAws, capsys: pytest.CaptureFixture[str]
) -> None:
    step = next_steps.find_next(run)
    assert step.format_command(run.id) == f"ftwizard deploy {run.id}" and "free" in step.text
    assert main(["deploy", run.id]) == 0, "what is free needs no confirmation"
    streams = capsys.readouterr()
    assert "only the tokens of its answers are billed" in streams.err.replace("\n", " ")
    assert "bedrock://us-east-1" in streams.out and "key:" not in streams.out
    record = read(run)
    (resource,) = record.billed
    assert resource.is_free and record.tuned_endpoint
    assert record.tuned_endpoint.served_name == resource.id == resource.model
    assert main(["deploy", run.id]) == 0, "it is there already"
    assert len(list_names(service)) == 1
    assert ask(run, "What is the meaning of it?").text
    facts = dict(hosted.list_facts(run, record))
    assert "free while nobody asks it" in facts["deployed"] and "! billed" not in facts
    assert "billed" not in hosted.describe_state(remote.summarize(record))
    assert next_steps.find_next(run).command == "eval"

    assert main(["remove", run.id, "--yes"]) == FAILED
    assert f"ftwizard teardown {run.id}" in capsys.readouterr().err and run.job.exists()
    items = run_json(capsys, "teardown", run.id)["items"]
    assert [item["resource"]["kind"] for item in items] == ["deployment", "custom model"]
    assert main(["teardown", run.id, "--yes"]) == 0
    assert list_names(service) == [] and read(run).billed == ()
    assert read(run).tuned_endpoint is None
    assert service.state and len(service.state.models) == 1, "the model is never deleted by --yes"
    capsys.readouterr()
    assert main(["remove", run.id, "--yes", "--remote-files"]) == 0
    assert "billed by the month until it is deleted" in capsys.readouterr().out.replace("\n", " ")


def test_a_tuned_model_is_deleted_after_its_question(
    run: JobFolder, service: RunningAws, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert main(["deploy", run.id]) == 0
    capsys.readouterr()
    answer(monkeypatch, "y", "n")
    assert main(["teardown"]) == 0
    text = capsys.readouterr()
    shown = (text.out + text.err).replace("\n", " ")
    assert "per month" in shown and f"of run {run.id}, and what serves it? This cannot" in shown
    assert "weights are gone for good" in shown and "! Still billed: custom model" in shown
    assert "stay in s3://ftwizard-double, whose storage is billed" in shown
    assert f"ftwizard remove {run.id} --remote-files" in shown
    assert service.state and len(service.state.models) == 1 and list_names(service) == []
    answer(monkeypatch, "y")
    assert main(["teardown", run.id]) == 0
    assert not service.state.models


@pytest.mark.parametrize("action", ["drop_request", "drop_reply"])
def test_a_lost_reply_leaves_no_deployment_without_a_record(
    run: JobFolder, service: RunningAws, action: Any
) -> None:
    service.control.add_fault(AwsFault(on="create_deployment", action=action, times=9))
    assert main(["deploy", run.id]) == FAILED
    service.control.clear_faults()
    assert [resource.name for resource in read(run).billed] or list_names(service) == []
    assert main(["deploy", run.id]) == 0
    assert len(list_names(service)) == len(read(run).billed) == 1
    assert main(["teardown", run.id, "--yes"]) == 0
    assert list_names(service) == [] and read(run).billed == ()


def test_a_deployment_that_fails_is_deleted(
    run: JobFolder, service: RunningAws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert service.state is not None
    service.control.change(deployment_failure="out of capacity")
    assert main(["deploy", run.id]) == FAILED
    assert "failed at Amazon Bedrock, and was deleted" in capsys.readouterr().err.replace("\n", " ")
    assert list_names(service) == [] and read(run).billed == ()


def test_a_deployment_is_awaited_through_an_outage(
    run: JobFolder, service: RunningAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform, model = deployments.get_deployer("bedrock"), read(run).tuned_model or ""
    resource = deployments.deploy(run, platform.quote_endpoint(model), platform)
    find, lost = platform.get_endpoint, iter(range(deployments.MAX_FAILED_LOOKS - 1))

    def find_or_fail(*args: Any, **kwargs: Any) -> Any:
        if next(lost, None) is not None:
            raise ProviderError("unreachable", "The connection was lost.")
        return find(*args, **kwargs)

    monkeypatch.setattr(platform, "get_endpoint", find_or_fail)
    assert deployments.wait_until_it_answers(run, resource, platform).served_name == resource.id
    lost = iter(range(deployments.MAX_FAILED_LOOKS))
    with pytest.raises(ProviderError, match="connection was lost"):
        deployments.wait_until_it_answers(run, resource, platform)
    assert list_names(service) and read(run).billed, "it stays, and its record too"


def test_throttling_is_outlasted(
    run: JobFolder, service: RunningAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "FIRST_INTERVAL_S", 0.01)
    monkeypatch.setattr(endpoint, "MAX_INTERVAL_S", 0.01)
    monkeypatch.setattr("ftwizard.evaluate.transports.converse.THROTTLED_S", 0.01)
    assert main(["deploy", run.id]) == 0
    service.control.add_fault(
        AwsFault(
            on="converse", action="reply", status=429, code="ThrottlingException",
            times=2 * endpoint.MAX_REFUSALS,
        )
    )  # fmt: skip
    assert ask(run, "Hi").text


@pytest.fixture
def compared(service: RunningAws, tmp_path: Path) -> JobFolder:
    """A run that was confirmed, and whose tuned model is to be compared with its base."""
    service.control.change(requests_per_minute=60_000)
    return create_run(
        tmp_path, "bedrock", rows=60, data={"files": {"train": "rows.jsonl"}, "split": {"test": 0.2}},
        finish={"compare": True, "max_new_tokens": 24},
        evaluate={"general": False, "safety": False, "shots": 0},
    )  # fmt: skip


def read_findings(folder: JobFolder) -> dict[str, Any]:
    return {event["code"]: event for event in events(folder, "finding")}


def test_a_run_deploys_its_model_for_free_and_is_compared(
    compared: JobFolder, service: RunningAws
) -> None:
    service.control.add_fault(AwsFault(on="create_deployment", action="drop_reply"))
    service.control.add_fault(AwsFault(on="converse", action="drop_request", skip=3))
    result = run_worker(compared)
    assert isinstance(result, RunResult) and compared.evaluation.exists()
    (deployed,) = read(compared).billed
    assert list_names(service) == [deployed.name] and deployed.is_free
    assert read(compared).tuned_endpoint and read(compared).base_endpoint
    assert not {"tuned_not_asked", "base_not_asked"} & set(read_findings(compared))


def test_a_deployment_that_is_refused_leaves_a_finished_run_with_its_next_step(
    compared: JobFolder, service: RunningAws
) -> None:
    service.control.change(max_deployments=0)
    result = run_worker(compared)
    assert isinstance(result, RunResult) and not compared.evaluation.exists()
    finding = read_findings(compared)["tuned_not_asked"]
    assert "quota" in finding["message"] and f"ftwizard deploy {compared.id}" in finding["message"]
    assert list_names(service) == [] and read(compared).billed == ()
    assert next_steps.find_next(compared).command == "deploy"


def test_a_deployment_that_fails_does_not_fail_the_run(
    compared: JobFolder, service: RunningAws
) -> None:
    service.control.change(deployment_failure="out of capacity")
    assert isinstance(run_worker(compared), RunResult)
    message = read_findings(compared)["tuned_not_asked"]["message"]
    assert "failed at Amazon Bedrock" in message and message.count("Deploy it") == 1
    assert list_names(service) == [] and read(compared).billed == ()


def test_a_model_that_must_be_bought_is_not_deployed(tmp_path: Path, service: RunningAws) -> None:
    folder = create_run(
        tmp_path, "bedrock", rows=140, model="llama-3.1-8b", finish={"compare": True},
        bedrock={"region": "us-west-2", "bucket": "ftwizard-double-west", "role": ROLE_ARN},
    )  # fmt: skip
    result = run_worker(folder)
    assert isinstance(result, RunResult) and not folder.evaluation.exists()
    assert "never buys" in read_findings(folder)["tuned_not_asked"]["message"]
    assert list_names(service) == []


def test_a_machine_without_a_login_lists_the_others(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (*UNSET, "AWS_ACCESS_KEY_ID", "TOGETHER_API_KEY", "AZURE_OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert run_json(capsys, "teardown")["items"] == []
    assert main(["teardown", "--provider", "bedrock"]) != 0
    assert "aws login" in capsys.readouterr().err


def make_bedrock(model: str) -> RemoteJob:
    arn = "arn:aws:bedrock:us-west-2:123456789012:custom-model/x/abc123abc123"
    return make_remote(provider="bedrock", model=model, tuned_model=arn, checkpoints=())


def test_a_model_that_no_deployment_serves_says_so(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = make_bedrock("meta.llama3-1-8b-instruct-v1:0:128k")
    folder = make_ended(home / "runs" / "one", record)
    step = next_steps.find_next(folder)
    assert "buy capacity" in step.text and not step.command
    assert main(["deploy", "one"]) == USAGE
    error = capsys.readouterr().err.replace("\n", " ")
    assert "which ftwizard never buys" in error and "--served-model NAME" in error
    remote.write(folder, make_bedrock("meta.llama3-3-70b-instruct-v1:0:128k"))
    assert next_steps.find_next(folder).command == "deploy"


def test_vertex_serves_gemini_at_once_and_open_models_never(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = make_remote(provider="vertex", model="gemini-3.5-flash", checkpoints=())
    folder = make_ended(home / "runs" / "one", record)
    assert next_steps.find_next(folder).command == "eval"
    assert main(["deploy", "one"]) == 0
    assert "Vertex AI serves" in capsys.readouterr().out
    assert main(["teardown", "one"]) == 0
    remote.write(folder, msgspec.structs.replace(record, model="qwen/qwen3@qwen3-8b"))
    assert next_steps.find_next(folder).command == "download"
    assert main(["deploy", "one"]) == USAGE
    assert "ftwizard download one" in capsys.readouterr().err
