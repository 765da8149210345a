"""Jobs of Bedrock from the request to the end, on AWS's double: one a run, whatever is lost."""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.providers.base import ProviderError
from ftwizard.providers.bedrock import jobs
from ftwizard.providers.bedrock.platform import BedrockPlatform
from tests.doubles.aws import BUCKET, EAST, ROLE_ARN, WEST, WEST_BUCKET, AwsFailure, AwsFault
from tests.providers.bedrock.conftest import Serve, World
from tests.providers.bedrock.plans import (
    SETTINGS,
    TAG,
    finish,
    make_environment,
    make_plan,
    make_remote,
    submit,
)

NAME = f"ftwizard-{TAG}"


def test_a_job_from_its_files_to_its_metrics(serve: Serve, tmp_path: Path) -> None:
    world = serve(steps=6, queued_looks=3)
    platform = world.platform
    remote, job_id = submit(platform, tmp_path)
    assert job_id == NAME
    words, events, read = [], [], frozenset[str]()
    for _ in range(12):
        status = platform.get_job(job_id)
        words.append((status.state, status.status))
        fresh = platform.list_events(job_id, read)
        read |= {event.id for event in fresh}
        events += fresh
        if status.state == "succeeded":
            break

    assert list(dict.fromkeys(state for state, _ in words)) == ["pending", "running", "succeeded"]
    assert ("running", "InProgress (training)") in words
    assert status.model == "amazon.nova-lite-v1:0:300k"
    assert status.tuned_model and ":custom-model/amazon.nova-lite" in status.tuned_model
    assert (status.tag, status.training_file) == (TAG, remote.files["train"].id)
    assert status.validation_file == remote.files["validation"].id
    assert status.settings["epochCount"] == 2 and status.settings["learningRate"] == 1e-5
    assert status.planned["bucket"] == BUCKET and status.planned["role"] == ROLE_ARN
    assert status.created and status.finished and status.created <= status.finished
    assert status.url and status.url.startswith(f"https://{EAST}.console.aws.amazon.com/bedrock")
    assert len({event.id for event in events}) == len(events)
    assert {"phase-validationDetails-completed", "queued", "status-completed"} <= read
    rows = platform.read_results(status)
    assert [row.step for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[0].metrics["loss"] > rows[-1].metrics["loss"]
    assert "eval_loss" in rows[-1].metrics
    assert platform.list_checkpoints(job_id) == []


def test_a_job_is_found_by_its_tag(world: World, tmp_path: Path) -> None:
    assert world.platform.find_job(make_remote()) is None
    remote, job_id = submit(world.platform, tmp_path)
    for platform in (world.platform, world.connect()):
        status = platform.find_job(remote)
        assert status is not None and status.id == job_id
    other = msgspec.structs.replace(remote, tag="f" * 32)
    assert world.platform.find_job(other) is None


def test_a_job_that_only_the_list_has_is_found(world: World, tmp_path: Path) -> None:
    remote, job_id = submit(world.platform, tmp_path)
    world.service.control.add_fault(AwsFault(on="get_job", status=404, times=1))
    status = world.platform.find_job(remote)
    assert status is not None and (status.id, status.tag) == (job_id, TAG)


@pytest.mark.parametrize("action", ["drop_reply", "truncate", "reply_after"])
def test_a_lost_answer_makes_no_second_job(world: World, tmp_path: Path, action: Any) -> None:
    world.service.control.add_fault(AwsFault(on="create_job", action=action))
    with pytest.raises(ProviderError) as failure:
        submit(world.platform, tmp_path)
    assert (failure.value.kind, failure.value.may_have_acted) == ("unreachable", True)
    assert len(world.service.control.list_requests("create_job")) == 1  # sent once

    remote, _ = submit(world.platform, tmp_path)  # the same token
    assert len(world.service.control.list_jobs()) == 1
    assert world.platform.find_job(remote) is not None


def test_a_request_that_never_arrived_made_nothing(world: World, tmp_path: Path) -> None:
    world.service.control.add_fault(AwsFault(on="create_job", action="drop_request"))
    with pytest.raises(ProviderError) as failure:
        submit(world.platform, tmp_path)
    assert failure.value.may_have_acted  # nobody can tell, so it is looked up
    assert world.platform.find_job(make_remote()) is None


def test_a_name_that_is_taken_means_that_the_job_exists(world: World, tmp_path: Path) -> None:
    remote, _ = submit(world.platform, tmp_path)
    assert remote.request is not None
    request = remote.request | {"clientRequestToken": "another"}
    with pytest.raises(ProviderError) as failure:
        world.platform.create_job(request)
    assert (failure.value.kind, failure.value.code) == ("rejected", "name_taken")
    assert failure.value.may_have_acted


@pytest.mark.parametrize(
    ("status", "code"),
    [(500, ""), (403, "ExpiredTokenException"), (400, "ServiceQuotaExceededException")],
)
def test_a_created_job_that_cannot_be_read_is_still_one(
    world: World, tmp_path: Path, status: int, code: str
) -> None:
    world.service.control.add_fault(AwsFault(on="get_job", status=status, code=code))
    _, job_id = submit(world.platform, tmp_path)
    assert job_id == NAME and len(world.service.control.list_jobs()) == 1
    assert world.platform.get_job(job_id).state in ("pending", "running")


def test_a_job_of_another_region_is_found(world: World, tmp_path: Path) -> None:
    settings = msgspec.structs.replace(SETTINGS, region=WEST, bucket=WEST_BUCKET)
    plan = make_plan(settings, "llama-3.3-70b")
    remote = make_remote(world.platform.get_model_id(plan))
    with pytest.raises(ProviderError, match="Could not validate GetObject"):
        # Its files were not uploaded: what matters here is where the request goes.
        world.platform.create_job(world.platform.build_request(plan, remote))
    assert world.service.control.list_requests("create_job")[0].region == WEST

    _, job_id = submit(world.platform, tmp_path)
    far = world.connect(AWS_DEFAULT_REGION=WEST)
    assert far.get_job(job_id).id == job_id
    assert far.job_regions == {job_id: EAST}
    with pytest.raises(ProviderError) as failure:
        far.get_job("ftwizard-of-nobody")
    assert failure.value.kind == "missing"


def test_a_job_is_stopped_once(world: World, tmp_path: Path) -> None:
    _, job_id = submit(world.platform, tmp_path)
    world.service.control.add_fault(AwsFault(on="stop_job", action="drop_reply"))
    world.platform.cancel_job(job_id)
    for _ in range(4):
        status = world.platform.get_job(job_id)
        if status.state == "cancelled":
            break
    assert (status.state, status.status) == ("cancelled", "Stopped")
    assert status.tuned_model is None
    world.platform.cancel_job(job_id)  # it has ended already
    with pytest.raises(ProviderError) as failure:
        world.platform.cancel_job("ftwizard-of-nobody")
    assert failure.value.kind == "missing"


@pytest.mark.parametrize(
    ("message", "part"),
    [("Could not validate GetObject permissions to access Amazon S3 bucket: b at key k", "s3:Get"),
     ("Amazon S3 perms missing (PutObject): Could not validate PutObject permissions", "s3:PutO"),
     ("Could not assume provided IAM role", "trust policy"),
     ("Unable to parse Amazon S3 file: f. Data files must conform to JSONL format.", "ftwizard check"),
     ("Input size exceeded in file f for record starting with x", "longest rows"),
     ("Maximum input token count 4732 exceeds limit of 4096 for train data", "longest rows"),
     ("Automated tests flagged this job as including third-party license terms", "flagged"),
     ("Encountered an internal error when processing the request.", "error of AWS"),
     ("Something new", "support of AWS")],
)  # fmt: skip
def test_a_failure_has_its_next_step(serve: Serve, tmp_path: Path, message: str, part: str) -> None:
    world = serve(failure=AwsFailure(message=message))
    _, job_id = submit(world.platform, tmp_path)
    status = world.platform.get_job(job_id)
    while status.state != "failed":
        status = world.platform.get_job(job_id)
    assert status.error == message and part in status.hint
    events = world.platform.list_events(job_id, frozenset())
    assert [event.level for event in events if event.id == "status-failed"] == ["error"]


def test_a_job_without_details_runs(serve: Serve, tmp_path: Path) -> None:
    world = serve(has_details=False)
    _, job_id = submit(world.platform, tmp_path)
    status = world.platform.get_job(job_id)
    assert (status.state, status.status) == ("running", "InProgress")
    assert finish(world.platform, job_id)


def test_a_status_that_is_unknown_ends_nothing(serve: Serve, tmp_path: Path) -> None:
    world = serve(odd_status="Dreaming")
    _, job_id = submit(world.platform, tmp_path)
    status = [world.platform.get_job(job_id) for _ in range(3)][-1]
    assert (status.state, status.status) == ("running", "Dreaming")


def test_metrics_that_are_gone_are_none(serve: Serve, tmp_path: Path) -> None:
    world = serve(writes_metrics=False)
    _, job_id = submit(world.platform, tmp_path)
    finish(world.platform, job_id)
    status = world.platform.get_job(job_id)
    assert world.platform.read_results(status) == []
    last = {event.id: event for event in world.platform.list_events(job_id, frozenset())}
    assert "Training loss at the end" in last["last-losses"].message

    world.service.control.change(denied=["s3:ListBucket"])
    assert world.platform.read_results(status) == []


def test_a_long_wait_for_capacity_is_told_with_its_hours() -> None:
    began = datetime.datetime.fromtimestamp(time.time() - 25 * 3600, datetime.UTC)
    details = {
        "validationDetails": {"status": "Completed", "lastModifiedTime": began},
        "trainingDetails": {"status": "NotStarted", "lastModifiedTime": began},
    }
    job = {"status": "InProgress", "statusDetails": details}
    waits = list(jobs._list_waits(job, time.time()))
    assert [event.id for event in waits] == ["waiting-21600", "waiting-86400"]
    assert waits[1].level == "warning" and "24 h" in waits[1].message
    assert list(jobs._list_waits({**job, "status": "Stopped"}, time.time())) == []
    assert jobs.get_state(job) == "pending"


def test_fields_of_a_job_may_all_be_missing_or_hostile() -> None:
    platform = BedrockPlatform(make_environment())
    odd: dict[str, Any] = {
        "status": "Failed\x1b[31m", "jobName": "a\u202eb", "hyperParameters": {"epochCount": "1.0E-4",
        "x": "\x07", "y": "nan"}, "statusDetails": "odd", "customizationConfig": {"rftConfig": 7},
        "validationDataConfig": {"validators": ["odd"]}, "creationTime": "soon", "failureMessage": 7,
    }  # fmt: skip
    for job in ({}, odd):
        status = jobs.convert_job(platform, job)
        texts = (status.id, status.status, status.error, str(status.settings))
        assert all(text.isprintable() for text in texts)
    assert status.settings["epochCount"] == 1e-4 and status.settings["x"] != "\x07"
