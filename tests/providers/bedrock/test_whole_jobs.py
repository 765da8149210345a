"""Runs at Bedrock from their rows to the end of their job, and what is Bedrock's own in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftwizard.jobs.folder import JobFolder
from ftwizard.providers import submit
from ftwizard.providers.watch import Watcher
from ftwizard.runs import remote
from ftwizard.runs.remote import RemoteJob
from tests.doubles.aws import WEST, AwsFailure
from tests.helpers.followed_jobs import add_attempt, create_run, run_follower
from tests.helpers.hosted_doubles import AwsDouble, serve_double
from tests.helpers.jobs import events


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing wait: the platform answers at once."""
    monkeypatch.setenv("FTWIZARD_POLL_S", "0.01")
    monkeypatch.setattr("ftwizard.providers.submit.LOOK_PAUSES_S", (0.0, 0.01, 0.01))
    monkeypatch.setattr("ftwizard.providers.submit.LATE_PAUSES_S", ())
    monkeypatch.setattr("ftwizard.providers.session.FIRST_RETRY_S", 0.01)
    monkeypatch.setattr("ftwizard.providers.session.LOOK_S", 0.01)


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsDouble]:
    with serve_double("bedrock") as service:
        assert isinstance(service, AwsDouble)
        for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_BEARER_TOKEN_BEDROCK"):
            monkeypatch.delenv(name, raising=False)
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
        yield service


def create(root: Path, double: AwsDouble, **settings: Any) -> JobFolder:
    return create_run(root, "bedrock", model="nova-lite", bedrock={**double.settings, **settings})


def require_one_job(double: AwsDouble, folder: JobFolder, end: object) -> RemoteJob:
    assert isinstance(end, RemoteJob), (end, getattr(end, "hint", ""))
    assert end.state == "succeeded" and end.tuned_model
    (job,) = double.list_jobs()
    assert job["id"] == end.job_id
    ids = [event["id"] for event in events(folder, "remote")]
    assert ids and len(ids) == len(set(ids))
    return end


def test_a_run_with_its_curve(double: AwsDouble, tmp_path: Path) -> None:
    folder = create(tmp_path, double, suffix="tickets")
    record = require_one_job(double, folder, run_follower(folder))
    assert record.request is not None and record.request["customModelName"].startswith("tickets-")
    assert record.files["train"].id == record.files["train"].name
    steps = [event["step"] for event in events(folder, "log")]
    assert steps and steps == sorted(set(steps))
    assert (folder.path / "results.csv").is_file()
    assert double.key not in folder.remote.read_text() + folder.events.read_text()


@pytest.mark.parametrize("call", ["upload", "create"])
def test_a_follower_that_was_killed_continues(
    double: AwsDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The request is on the disk when the follower dies with the reply, also for another region."""
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
            end = run_follower(folder)
            raise AssertionError(f"The follower was not killed: {end!r}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", WEST)
    add_attempt(folder)
    record = remote.read(folder)
    assert record is not None and record.job_id is None
    require_one_job(double, folder, run_follower(folder))


def test_a_follower_that_dies_while_it_copies_the_curve_copies_the_rest(
    double: AwsDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = create(tmp_path, double)
    original = Watcher._write

    def die(watch: Watcher, kind: str, **fields: Any) -> None:
        original(watch, kind, **fields)
        if kind == "log" and len(watch.progress.losses) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Watcher, "_write", die)
        with pytest.raises(KeyboardInterrupt):
            run_follower(folder)
    add_attempt(folder)
    require_one_job(double, folder, run_follower(folder))
    steps = [event["step"] for event in events(folder, "log")]
    rows = (folder.path / "results.csv").read_text().splitlines()[1:]
    assert steps == [int(row.partition(",")[0]) for row in rows] and len(steps) > 2


def test_a_failed_job_ends_the_run_with_its_reason(double: AwsDouble, tmp_path: Path) -> None:
    message = "Encountered an internal error when processing the request."
    double.change(failure=AwsFailure(message=message))
    folder = create(tmp_path, double)
    end = run_follower(folder)
    assert not isinstance(end, RemoteJob)
    assert "internal error" in str(end)
