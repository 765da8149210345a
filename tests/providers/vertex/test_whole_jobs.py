"""What only a run at Vertex AI has, from its rows to the end of its job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftwizard.jobs.folder import JobFolder
from ftwizard.runs.remote import RemoteJob
from tests.doubles.vertex_service import PROJECT, VertexFailure
from tests.helpers.followed_jobs import create_run, run_follower
from tests.helpers.hosted_doubles import VertexDouble, serve_double
from tests.helpers.jobs import events
from tests.providers.vertex.world import GEMINI, OPEN


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


def test_a_failed_job_ends_the_run_with_its_reason(double: VertexDouble, tmp_path: Path) -> None:
    message = "List of found errors:\t1.Field: x; Message: Row 7 is empty.\t"
    double.change(failure=VertexFailure(message=message))
    folder = create(tmp_path, double)
    end = run_follower(folder)
    assert not isinstance(end, RemoteJob)
    assert "Row 7 is empty" in str(end)
