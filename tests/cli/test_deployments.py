"""``deploy``, ``teardown``, ``download`` and the files of ``remove``, against the doubles of the platforms."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import together._base_client

from ftwizard.__main__ import main
from ftwizard.errors import DECLINED, FAILED, USAGE
from ftwizard.jobs.folder import JobFolder, State, write_json
from ftwizard.jobs.status import observe
from ftwizard.plan.schema import Foundry
from ftwizard.providers import deployments
from ftwizard.runs import hosted, next_steps, remote, store
from ftwizard.runs.remote import RemoteCheckpoint, RemoteEndpoint, RemoteJob
from ftwizard.runs.summary import read_progress
from ftwizard.screens.run_state import describe_state
from tests.doubles.aws import AwsScenario, serve_aws
from tests.doubles.together_service import KEY, Fault, Scenario, TogetherService, serve_together
from tests.helpers.followed_jobs import create_run, run_follower
from tests.helpers.hosted import make_ended, make_plan, make_remote

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TogetherService]:
    monkeypatch.setenv("FTWIZARD_POLL_S", "0.01")
    monkeypatch.setattr(together._base_client, "INITIAL_RETRY_DELAY", 0.001)
    monkeypatch.setattr(together._base_client, "MAX_RETRY_DELAY", 0.001)
    monkeypatch.setattr("ftwizard.providers.together.endpoints.STOP_POLL_S", 0.001)
    monkeypatch.setattr(deployments, "POLL_S", 0.001)
    for name in ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with serve_together(Scenario(running_states=1, steps=4)) as service:
        monkeypatch.setenv("TOGETHER_API_KEY", KEY)
        monkeypatch.setenv("TOGETHER_BASE_URL", service.address)
        yield service


@pytest.fixture
def run(service: TogetherService, tmp_path: Path) -> JobFolder:
    """A run whose job has succeeded."""
    folder = create_run(tmp_path, "together")
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


def count_deployments(service: TogetherService) -> int:
    return sum(len(endpoint.deployments) for endpoint in service.registry.endpoints.values())


def test_a_model_is_deployed_asked_and_removed(
    run: JobFolder, service: TogetherService, capsys: pytest.CaptureFixture[str]
) -> None:
    document = run_json(capsys, "deploy", run.id, "--yes")
    assert document["billed"]["price"]["value"] == 3.99
    assert document["endpoint"]["address"] == f"{service.address}/v1"
    record = read(run)
    (resource,) = record.billed
    assert record.tuned_endpoint and record.tuned_endpoint.served_name == resource.model
    assert count_deployments(service) == 1

    assert main(["deploy", run.id, "--yes"]) == 0, "it is there already"
    assert count_deployments(service) == 1
    assert main(["chat", run.id, "--prompt", "Hi"]) == 0
    shown = dict(hosted.list_facts(run, record))["! billed"]
    assert "$3.99 per hour since" in shown and f"ftwizard teardown {run.id}" in shown
    assert run_json(capsys, "status", run.id)["remote"]["billed"][0]["id"] == resource.id
    status = store.make_status(run, observe(run), read_progress(run))
    assert describe_state(status)[0].endswith("· billed")

    assert main(["remove", run.id, "--yes"]) == FAILED
    assert f"ftwizard teardown {run.id}" in capsys.readouterr().err and run.job.exists()
    listed = run_json(capsys, "teardown", run.id)
    assert listed["items"][0]["run"] == run.id and listed["deleted"] == []
    assert count_deployments(service) == 1, "listing deletes nothing"
    assert main(["teardown", run.id, "--yes"]) == 0
    assert service.registry.endpoints == {}
    assert read(run).billed == () and read(run).tuned_endpoint is None
    assert "billed" not in run_json(capsys, "status", run.id)["remote"]
    assert main(["remove", run.id, "--yes"]) == 0


@pytest.mark.parametrize(
    "path",
    [r"POST /v2/.*/endpoints$", r"POST /v2/.*/deployments$", r"PATCH /v2/.*/endpoints/[^/]*$"],
)
@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_lost_reply_leaves_nothing_billed_without_a_record(
    run: JobFolder, service: TogetherService, path: str, drop: Any
) -> None:
    method, _, path = path.partition(" ")
    service.scenario.faults.append(Fault(method=method, path=path, drop=drop, times=9))
    code = main(["deploy", run.id, "--yes"])
    service.scenario.faults.clear()
    live = deployments.get_deployer("together").list_billed()
    recorded = {item.id for item in read(run).billed} | {item.name for item in read(run).billed}
    for resource in live:
        assert {resource.id, (resource.model or "").rpartition("/")[2]} & recorded
    assert code == FAILED
    assert main(["deploy", run.id, "--yes"]) == 0
    assert count_deployments(service) == 1 and len(read(run).billed) == 1
    assert main(["teardown", run.id, "--yes"]) == 0
    assert service.registry.endpoints == {} and read(run).billed == ()


def test_the_price_is_confirmed_before_anything_is_made(
    run: JobFolder, service: TogetherService, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert main(["deploy", run.id]) == USAGE, "nobody can be asked"
    answer(monkeypatch, "yes")
    assert main(["deploy", run.id]) == DECLINED
    assert "$3.99 per hour" in capsys.readouterr().err
    assert service.registry.endpoints == {} and read(run).billed == ()
    answer(monkeypatch, "deploy")
    assert main(["deploy", run.id]) == 0
    assert count_deployments(service) == 1
    answer(monkeypatch, "n")
    assert main(["teardown"]) == 0
    assert count_deployments(service) == 1
    answer(monkeypatch, "y")
    assert main(["teardown"]) == 0
    assert service.registry.endpoints == {}


def test_the_intent_is_on_disk_before_the_request(
    run: JobFolder, service: TogetherService, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = deployments.get_deployer("together")
    seen_records: list[RemoteJob] = []
    create: Callable[[str], Any] = platform.create_endpoint

    def create_and_die(model: str) -> Any:
        seen_records.append(read(run))
        create(model)
        raise SystemExit  # as a kill after the request

    monkeypatch.setattr(platform, "create_endpoint", create_and_die)
    quoted = platform.quote_endpoint(read(run).tuned_model or "")
    with pytest.raises(SystemExit):
        deployments.deploy(run, quoted, platform)
    (intent,) = seen_records[0].billed
    assert not intent.id and intent.name and intent.price and intent.created
    assert main(["remove", run.id, "--yes"]) == FAILED
    assert main(["teardown", run.id, "--yes"]) == 0, "it is looked up by its name"
    assert service.registry.endpoints == {} and read(run).billed == ()


def test_a_deployment_that_fails_is_deleted(
    run: JobFolder, service: TogetherService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.scenario.deployment_failure = "out of capacity"
    assert main(["deploy", run.id, "--yes"]) == FAILED
    assert "failed at Together, and was deleted" in capsys.readouterr().err
    assert service.registry.endpoints == {} and read(run).billed == ()


def test_an_endpoint_that_stopped_by_itself_is_not_billed_and_starts_again(
    run: JobFolder, service: TogetherService, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deploy", run.id, "--yes"]) == 0
    (endpoint,) = service.registry.endpoints.values()
    (deployment,) = endpoint.deployments.values()
    deployment.scale(0)
    for _ in range(3):
        service.registry.look()
    (item,) = run_json(capsys, "teardown", run.id)["items"]
    assert item["is_billed"] is False and item["cost"] is None
    assert main(["deploy", run.id, "--yes"]) == 0
    (endpoint,) = service.registry.endpoints.values()
    assert [new.id for new in endpoint.deployments.values()] != [deployment.id]
    assert count_deployments(service) == 1
    assert len(deployments.get_deployer("together").list_billed()) == len(read(run).billed) == 1
    assert main(["teardown", run.id, "--yes"]) == 0
    assert service.registry.endpoints == {}


def test_an_account_of_aws_that_is_not_for_bedrock_hides_nothing_of_others(
    service: TogetherService,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serve_aws(AwsScenario(denied=("bedrock:ListProvisionedModelThroughputs",))) as aws:
        for name, value in aws.environment.items():
            monkeypatch.setenv(name, value)
        assert run_json(capsys, "teardown")["items"] == []
        assert main(["teardown", "--provider", "bedrock"]) == FAILED
        make_ended(home / "runs" / "one", make_remote(provider="bedrock"))
        assert main(["teardown"]) == FAILED, "the model of the run may be billed"


def test_what_others_made_is_never_deleted_without_a_question(
    run: JobFolder, service: TogetherService, capsys: pytest.CaptureFixture[str]
) -> None:
    deployments.get_deployer("together").create_endpoint(read(run).tuned_model or "")
    document = run_json(capsys, "teardown", "--yes", "--provider", "together")
    assert [item["run"] for item in document["items"]] == [None] and document["deleted"] == []
    assert count_deployments(service) == 1


def test_a_deletion_that_fails_keeps_the_record(
    run: JobFolder, service: TogetherService, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deploy", run.id, "--yes"]) == 0
    service.scenario.faults.append(Fault(method="PATCH", path="/endpoints/", status=500, times=99))
    assert main(["teardown", run.id, "--yes"]) == FAILED
    assert len(read(run).billed) == 1 and count_deployments(service) == 1
    service.scenario.faults.clear()
    assert main(["teardown", run.id, "--yes"]) == 0
    assert service.registry.endpoints == {}


def test_openai_needs_no_deployment(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_ended(home / "runs" / "one")
    assert main(["deploy", "one"]) == 0
    assert "without a deployment" in capsys.readouterr().out
    assert main(["teardown", "one"]) == 0


def test_foundry_gets_its_commands(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "key-of-nobody")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://acme.openai.azure.com")
    served = RemoteEndpoint(address="https://x", served_name="my-tuned", key_variable="X")
    plan = msgspec.structs.replace(make_plan(), provider="foundry", foundry=Foundry())
    record = make_remote(provider="foundry", tuned_endpoint=served)
    folder = make_ended(home / "runs" / "one", record, plan=plan)
    assert main(["deploy", "one"]) == 0
    text = capsys.readouterr().out
    assert "az cognitiveservices account deployment create" in text and "per hour" in text
    assert "ftwizard eval one --served-model ftwizard-tuned" in text
    assert main(["deploy", "one", "--checkpoint", "10"]) == 0
    best = next(kept.model for kept in record.checkpoints if kept.step == 10)
    text = capsys.readouterr().out.replace("\n", " ")
    assert best and f"--model-name {best} " in text and "ftwizard-tuned" not in text
    assert "Then evaluate it: ftwizard eval one --checkpoint 10" in text
    assert main(["deploy", "one", "--checkpoint", "20"]) == 0
    assert "--served-model ftwizard-tuned" in capsys.readouterr().out, "the last is the result"
    assert read(folder).tuned_model == record.tuned_model, "only the commands are about it"
    assert main(["deploy", "one", "--checkpoint", "11"]) == 1
    assert "It keeps: 10" in capsys.readouterr().err
    assert (
        "deployment my-tuned may be billed" in dict(hosted.list_facts(folder, record))["! billed"]
    )
    answer(monkeypatch, "deleted")
    assert main(["teardown", "one"]) == 0
    assert "delete --resource-group RESOURCE_GROUP --name acme --deployment-name my-tuned" in (
        capsys.readouterr().out.replace("\n", " ")
    )
    assert read(folder).tuned_endpoint is None


def test_together_deploys_no_checkpoint(
    run: JobFolder, service: TogetherService, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deploy", run.id, "--checkpoint", "4", "--yes"]) == USAGE
    text = capsys.readouterr().err.replace("\n", " ")
    assert "Together deploys the model of the last step only." in text
    assert f"ftwizard download {run.id} --checkpoint 4" in text
    assert count_deployments(service) == 0


def test_uploaded_files_are_deleted_on_demand(
    run: JobFolder, service: TogetherService, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    files = dict(service.files)
    assert len(files) == 2
    answer(monkeypatch, "n")
    monkeypatch.setattr("ftwizard.cli.output.has_terminal", lambda: True)
    assert main(["remove", run.id]) == DECLINED
    assert "2 uploaded files, job and model stay at Together" in capsys.readouterr().out
    assert main(["remove", run.id, "--checkpoints", "--remote-files", "--yes"]) == USAGE
    service.scenario.faults.append(Fault(method="DELETE", path="/v1/files", status=500, times=9))
    assert main(["remove", run.id, "--remote-files", "--yes"]) == FAILED
    assert run.job.exists(), "the ids of the files are in its record"
    service.scenario.faults.clear()
    assert run_json(capsys, "remove", run.id, "--remote-files", "--yes")["remote_files"] == 2
    assert not service.files and not run.job.exists()


def test_what_stays_at_the_platform_is_named(
    run: JobFolder, service: TogetherService, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["remove", run.id, "--yes"]) == 0
    assert "2 uploaded files, job and model stay at Together." in capsys.readouterr().out
    assert len(service.files) == 2


def test_a_file_that_another_run_has_too_stays(run: JobFolder, service: TogetherService) -> None:
    make_ended(run.path.with_name("other"), read(run))
    assert main(["remove", run.id, "--remote-files", "--yes"]) == 0
    assert len(service.files) == 2


def test_an_adapter_and_a_checkpoint_are_downloaded(
    run: JobFolder, service: TogetherService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = tmp_path / "small"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    service.scenario.adapter = str(adapter)
    assert run_json(capsys, "download", run.id)["folder"] == str(run.adapter)
    count = service.count("GET", "/v1/finetune/download")
    assert main(["download", run.id]) == 0
    assert service.count("GET", "/v1/finetune/download") == count, "it is here already"
    step = read(run).checkpoints[0].step
    document = run_json(capsys, "download", run.id, "--checkpoint", str(step))
    assert document["folder"] == str(run.checkpoints / f"checkpoint-{step}")
    query = next(r["query"] for r in service.requests[::-1] if "finetune/download" in r["path"])
    assert query["checkpoint_step"] == str(step)
    assert main(["download", run.id, "--checkpoint", "99"]) == FAILED
    assert f"It keeps: {step}" in capsys.readouterr().err


def test_the_best_checkpoint_is_named_with_its_command() -> None:
    text, command = hosted.describe_lowest("one", make_remote()) or ("", "")
    assert "step 10 (0.4)" in text and "ckpt-step-10" in text
    assert command == "ftwizard eval one --checkpoint 10"
    text, command = hosted.describe_lowest("one", make_remote(provider="foundry")) or ("", "")
    assert "Deploy it first" in text and command == "ftwizard deploy one --checkpoint 10"
    kept = tuple(RemoteCheckpoint(id=str(n), step=n, eval_loss=n / 10) for n in (4, 8))
    record = make_remote(provider="together", checkpoints=kept)
    assert (hosted.describe_lowest("one", record) or ("", ""))[1] == (
        "ftwizard download one --checkpoint 4"
    )
    assert hosted.describe_lowest("one", make_remote(checkpoints=kept[:1])) is None


def test_the_next_step_makes_a_model_that_is_not_served_answer(home: Path) -> None:
    folder = make_ended(home / "runs" / "one", make_remote(provider="foundry"))
    step = next_steps.find_next(folder)
    assert step.text.startswith("stop at the best epoch: deploy checkpoint 10")
    assert step.format_command("one") == "ftwizard deploy one --checkpoint 10"
    remote.write(folder, make_remote(provider="together"))
    assert next_steps.find_next(folder).format_command("one") == "ftwizard deploy one"
    folder.adapter.mkdir()
    assert next_steps.find_next(folder).format_command("one") == "ftwizard merge one"
    served = RemoteEndpoint(address="https://x", served_name="x", key_variable="X")
    remote.write(folder, make_remote(provider="together", tuned_endpoint=served))
    assert next_steps.find_next(folder).format_command("one") == "ftwizard eval one"
