"""Runs at Vertex AI from their rows to the end of their job, also where calls fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftwizard.jobs.folder import JobFolder
from ftwizard.providers import submit
from ftwizard.runs import remote
from ftwizard.runs.remote import RemoteJob
from tests.doubles.vertex_service import PROJECT, VertexFailure
from tests.helpers.followed_jobs import add_attempt, create_run, run_follower
from tests.helpers.hosted_doubles import Trouble, VertexDouble, serve_double
from tests.helpers.jobs import events
from tests.providers.vertex.world import GEMINI, OPEN

TROUBLES: tuple[Trouble, ...] = (
    "drop_request", "drop_reply", "error", "error_after", "rate_limit",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing wait: the platform answers at once."""
    monkeypatch.setenv("FTWIZARD_POLL_S", "0.01")
    monkeypatch.setattr("ftwizard.providers.submit.LOOK_PAUSES_S", (0.0, 0.01, 0.01))
    monkeypatch.setattr("ftwizard.providers.submit.LATE_PAUSES_S", ())
    monkeypatch.setattr("ftwizard.providers.session.FIRST_RETRY_S", 0.01)
    monkeypatch.setattr("ftwizard.providers.session.LOOK_S", 0.01)


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[VertexDouble]:
    with serve_double("vertex") as service:
        assert isinstance(service, VertexDouble)
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
        yield service


def create(root: Path, double: VertexDouble, model: str = GEMINI, **settings: Any) -> JobFolder:
    return create_run(root, "vertex", model=model, vertex={**double.settings, **settings})


def require_one_job(double: VertexDouble, folder: JobFolder, end: object) -> RemoteJob:
    assert isinstance(end, RemoteJob), (end, getattr(end, "hint", ""))
    assert end.state == "succeeded"
    assert end.tuned_model
    (job,) = double.list_jobs()
    assert job["id"] == end.job_id
    assert len(double.list_files()) == len(end.files)
    ids = [event["id"] for event in events(folder, "remote")]
    assert ids
    assert len(ids) == len(set(ids))
    return end


def test_a_run_of_gemini(double: VertexDouble, tmp_path: Path) -> None:
    folder = create(tmp_path, double, suffix="tickets")
    record = require_one_job(double, folder, run_follower(folder))
    assert record.request is not None
    assert record.request["project"] == PROJECT
    assert record.url is not None
    assert record.trained_tokens
    assert record.files["train"].id == record.files["train"].name
    messages = [event["message"] for event in events(folder, "remote")]
    assert any("Curves of the training: https://" in message for message in messages)
    assert double.key not in folder.remote.read_text()


def test_a_run_of_an_open_model(double: VertexDouble, tmp_path: Path) -> None:
    folder = create(tmp_path, double, OPEN, epoch_count=2)
    record = require_one_job(double, folder, run_follower(folder))
    assert [checkpoint.epoch for checkpoint in record.checkpoints] == [1, 2]
    assert record.request is not None
    messages = [event["message"] for event in events(folder, "remote")]
    assert any(record.request["output_uri"] in message for message in messages)


@pytest.mark.parametrize("trouble", TROUBLES)
def test_each_call_fails_and_there_is_one_job(
    double: VertexDouble, tmp_path: Path, trouble: Trouble
) -> None:
    folder = create(tmp_path, double)
    for call in double.calls:
        double.disturb(call, trouble)
    require_one_job(double, folder, run_follower(folder))


@pytest.mark.parametrize("trouble", ["drop_reply", "error_after"])
def test_a_job_whose_reply_was_lost_is_not_created_again(
    double: VertexDouble, tmp_path: Path, trouble: Trouble
) -> None:
    folder = create(tmp_path, double)
    double.disturb("create", trouble, times=9)
    require_one_job(double, folder, run_follower(folder))
    assert len(double.control.list_requests("create_job")) == 1


@pytest.mark.parametrize("call", ["upload", "create"])
def test_a_follower_that_was_killed_continues(
    double: VertexDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The request is on the disk when the follower dies with the reply, and no plan is asked for."""
    folder = create(tmp_path, double)
    name = {"upload": "_save_file", "create": "record_status"}[call]
    original = getattr(submit, name)

    def die(*arguments: Any, **changes: Any) -> None:
        if call == "create" or "id" in changes:
            raise KeyboardInterrupt
        original(*arguments, **changes)

    with monkeypatch.context() as patch:
        patch.setattr(submit, name, die)
        with pytest.raises(KeyboardInterrupt):
            run_follower(folder)
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "europe-west4")
    if call == "upload":
        monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "us-central1")
    add_attempt(folder)
    record = remote.read(folder)
    assert record is not None
    assert record.job_id is None
    require_one_job(double, folder, run_follower(folder))


def test_a_failed_job_ends_the_run_with_its_reason(double: VertexDouble, tmp_path: Path) -> None:
    message = "List of found errors:\t1.Field: x; Message: Row 7 is empty.\t"
    double.change(failure=VertexFailure(message=message))
    folder = create(tmp_path, double)
    end = run_follower(folder)
    assert not isinstance(end, RemoteJob)
    assert "Row 7 is empty" in str(end)
