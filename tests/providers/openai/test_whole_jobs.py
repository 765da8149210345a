"""Whole jobs at OpenAI, Foundry and Bedrock's open weights, against the double of the service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftwizard.graders.template import write_template
from ftwizard.hosted_platforms import HostedProvider
from ftwizard.plan.schema import Data, Files, Foundry, Mantle, Model, OpenAI, Plan
from ftwizard.providers.base import JobEvent, JobStatus, Platform, ProviderError
from ftwizard.providers.platforms import get_platform
from ftwizard.runs.remote import RemoteFile, RemoteJob
from tests.doubles.openai_service import (
    QUOTA,
    REASONING_MODEL,
    UNSAFE_MODEL,
    Fault,
    RunningService,
    Scenario,
    serve,
)

MODEL = "gpt-4.1-mini-2025-04-14"
GRADER = {
    "type": "string_check", "name": "exact", "operation": "eq",
    "input": "{{sample.output_text}}", "reference": "{{item.answer}}",
}  # fmt: skip


FUNCTION = "arn:aws:lambda:us-west-2:123456789012:function:exact"


def get_provider(service: RunningService) -> HostedProvider:
    if service.is_mantle:
        return "mantle"
    return "foundry" if service.is_foundry else "openai"


def connect(service: RunningService) -> Platform:
    return get_platform(get_provider(service), service.environment)


def make_plan(service: RunningService, model: str = MODEL, **settings: object) -> Plan:
    provider = get_provider(service)
    if service.is_mantle:
        return Plan(
            provider="mantle",
            data=Data(files=Files(train="t.jsonl")),
            model=Model(name="openai.gpt-oss-20b"),
            mantle=Mantle(grader=FUNCTION, **settings),  # type: ignore[arg-type]
        )
    group = Foundry if service.is_foundry else OpenAI
    return Plan(
        provider=provider, data=Data(files=Files(train="t.jsonl")), model=Model(name=model),
        **{provider: group(**settings)},  # type: ignore[arg-type]
    )  # fmt: skip


def write_rows(path: Path, service: RunningService, method: str = "supervised") -> None:
    rows: list[dict[str, object]] = []
    for number in range(100 if service.is_mantle else 12):
        question = {"role": "user", "content": f"What is {number} + 1?"}
        answer = {"role": "assistant", "content": str(number + 1)}
        if method == "supervised" and not service.is_mantle:
            rows.append({"messages": [question, answer]})
        else:
            field = "reference_answer" if service.is_mantle else "answer"
            rows.append({"messages": [question], field: str(number + 1)})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text, "utf-8-sig" if service.is_foundry else "utf-8")


def upload_all(
    platform: Platform,
    service: RunningService,
    folder: Path,
    plan: Plan,
    method: str = "supervised",
) -> RemoteJob:
    files = {}
    for part in ("train",) if service.is_mantle else ("train", "validation"):
        path, name = folder / f"{part}.jsonl", f"tag-1-{part}.jsonl"
        write_rows(path, service, method)
        file_id = platform.upload(path, name, lambda done, total: None)
        assert platform.find_file(name) == file_id
        while platform.check_file(file_id).state == "pending":
            pass
        files[part] = RemoteFile(path=path.name, name=name, rows=12, size_bytes=1, id=file_id)
    return RemoteJob(provider=platform.id, tag="tag-1", model=plan.model.name, files=files)


def follow(platform: Platform, job_id: str) -> tuple[JobStatus, list[JobEvent]]:
    """Look at a job until it ends; return its end and all events."""
    events: list[JobEvent] = []
    for _ in range(50):
        status = platform.get_job(job_id)
        events += platform.list_events(job_id, frozenset(event.id for event in events))
        if status.state in ("succeeded", "failed", "cancelled"):
            return status, events
    raise AssertionError("the job did not end")


SERVICES = ("openai_service", "foundry_service")


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> RunningService:
    running: RunningService = request.getfixturevalue(request.param)
    return running


def test_a_job_from_its_check_to_its_model(service: RunningService, tmp_path: Path) -> None:
    platform = connect(service)
    plan = make_plan(service, n_epochs=3, seed=1, suffix="it")
    assert MODEL in [model.id for model in platform.list_models()]
    assert platform.check_plan(plan)
    remote = upload_all(platform, service, tmp_path, plan)
    assert platform.find_job(remote) is None

    job = platform.create_job(platform.build_request(plan, remote))
    again = platform.find_job(remote)
    status, events = follow(platform, job.id)

    assert again is not None
    assert again.id == job.id
    assert status.state == "succeeded"
    assert status.tuned_model
    assert status.trained_tokens
    losses = [(event.step, event.metrics["loss"]) for event in events if "loss" in event.metrics]
    assert losses == sorted(losses, key=lambda pair: pair[0] or 0)
    assert len({step for step, _ in losses}) == len(losses) > 2
    assert any("eval_loss" in event.metrics for event in events)
    results = platform.read_results(status)
    # Foundry reports every ten steps, and has all of them in its results.
    assert {step for step, _ in losses} <= {event.step for event in results}
    assert [event.step for event in results] == list(range(1, 37))
    checkpoints = platform.list_checkpoints(job.id)
    assert checkpoints[-1].model == status.tuned_model
    assert all(checkpoint.eval_loss for checkpoint in checkpoints)
    platform.cancel_job(job.id)  # it has ended
    for file in remote.files.values():
        platform.delete_file(file.id or "")
        platform.delete_file(file.id or "")


@pytest.mark.parametrize("service", [*SERVICES, "mantle_service"], indirect=True)
def test_a_lost_reply_leaves_one_job_which_is_looked_up(
    service: RunningService, tmp_path: Path
) -> None:
    platform, plan = connect(service), make_plan(service)
    remote = upload_all(platform, service, tmp_path, plan)
    service.control.add_fault(Fault(on="POST /fine_tuning/jobs", action="drop_reply"))

    with pytest.raises(ProviderError) as failure:
        platform.create_job(platform.build_request(plan, remote))

    job = platform.find_job(remote)
    assert failure.value.may_have_acted
    assert job is not None
    assert len(service.control.list_jobs()) == 1


def test_a_job_is_paused_resumed_and_cancelled(service: RunningService, tmp_path: Path) -> None:
    platform, plan = connect(service), make_plan(service)
    remote = upload_all(platform, service, tmp_path, plan)
    job = platform.create_job(platform.build_request(plan, remote))
    while platform.get_job(job.id).state == "pending":
        pass

    platform.pause_job(job.id)
    assert platform.get_job(job.id).state == "paused"
    platform.pause_job(job.id)
    platform.resume_job(job.id)
    assert platform.get_job(job.id).state == "running"
    platform.cancel_job(job.id)
    assert platform.get_job(job.id).state == "cancelled"
    platform.cancel_job(job.id)
    cancel = "POST /fine_tuning/jobs/{fine_tuning_job_id}/cancel"
    service.control.add_fault(Fault(on=cancel, status=409, times=None))
    platform.cancel_job(job.id)


@pytest.mark.parametrize("grader", [GRADER, "exact.py"])
@pytest.mark.parametrize("foundry", [False, True])
def test_reinforcement_from_its_grader_to_its_rewards(
    foundry: bool, grader: object, tmp_path: Path
) -> None:
    if isinstance(grader, str):
        grader = str(tmp_path / grader)
        Path(grader).write_text(write_template("exact.py", "exact", "answer"))
    scenario = Scenario(extra_models=() if foundry else (REASONING_MODEL,))
    with serve(scenario, foundry=foundry) as service:
        platform = connect(service)
        plan = make_plan(service, REASONING_MODEL.id, method="reinforcement", grader=grader)
        platform.check_plan(plan)
        remote = upload_all(platform, service, tmp_path, plan, "reinforcement")
        trial, cautions = platform.try_grader(plan, tmp_path / "train.jsonl")
        job = platform.create_job(platform.build_request(plan, remote))
        status, events = follow(platform, job.id)

    assert cautions == [] and "right answers scored 1" in trial
    assert status.state == "succeeded"
    assert any("reward" in event.metrics for event in events)
    assert any("eval_reward" in event.metrics for event in events)


@pytest.mark.parametrize(
    ("scenario", "hint"),
    [(Scenario(failure=QUOTA), "credit"), (Scenario(failure=UNSAFE_MODEL), "unsafe content")],
)
def test_a_job_that_fails_says_why_and_what_to_do(
    scenario: Scenario, hint: str, tmp_path: Path
) -> None:
    with serve(scenario) as service:
        platform, plan = connect(service), make_plan(service)
        remote = upload_all(platform, service, tmp_path, plan)
        job = platform.create_job(platform.build_request(plan, remote))
        status, _ = follow(platform, job.id)

    assert status.state == "failed"
    assert status.error
    assert hint in status.hint


def test_a_closed_service_is_explained(tmp_path: Path) -> None:
    with serve(Scenario(closed=True)) as service:
        platform, plan = connect(service), make_plan(service)
        remote = upload_all(platform, service, tmp_path, plan)
        with pytest.raises(ProviderError) as failure:
            platform.create_job(platform.build_request(plan, remote))

    assert failure.value.kind == "closed"
    assert "2027-01-06" in failure.value.message


def test_odd_services_are_followed_to_the_end(tmp_path: Path) -> None:
    scenario = Scenario(odd_status="warming", odd_events=True, empty_error="nones", file_polls=3)
    with serve(scenario) as service:
        platform, plan = connect(service), make_plan(service)
        remote = upload_all(platform, service, tmp_path, plan)
        job = platform.create_job(platform.build_request(plan, remote))
        status, events = follow(platform, job.id)

    assert (status.state, status.error) == ("succeeded", "")
    assert len({event.id for event in events}) == len(events)


def test_a_file_that_the_service_rejects_has_its_reason(tmp_path: Path) -> None:
    with serve(Scenario(file_error="Line 1 is not a dictionary")) as service:
        platform = connect(service)
        write_rows(tmp_path / "t.jsonl", service)
        file_id = platform.upload(tmp_path / "t.jsonl", "t.jsonl", lambda done, total: None)
        file = platform.check_file(file_id)

    assert (file.state, file.reason) == ("failed", "Line 1 is not a dictionary")


def test_a_wrong_key_is_refused_and_never_shown() -> None:
    with serve(Scenario()) as service:
        environment = service.environment | {"OPENAI_API_KEY": "sk-wrong-0123456789abcd"}
        with pytest.raises(ProviderError) as failure:
            get_platform("openai", environment).list_models()

    assert failure.value.kind == "key"
    assert "abcd" not in failure.value.text
    assert "0123" not in failure.value.text


def test_a_deployment_with_the_name_of_its_model_is_asked(
    foundry_service: RunningService,
) -> None:
    platform = get_platform("foundry")
    model = "gpt-4.1-mini-2025-04-14"
    plan = Plan(
        provider="foundry", data=Data(files=Files(train="rows.jsonl")), model=Model(name=model)
    )
    assert platform.get_endpoint(model, plan) is None
    foundry_service.control.deploy(model, model)
    endpoint = platform.get_endpoint(model, plan)
    assert endpoint and endpoint.served_name == model
