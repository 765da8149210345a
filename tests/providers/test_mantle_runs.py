"""Runs of open weights at Bedrock from their rows to the end of their job, also where calls fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from ftwizard.jobs.folder import JobFolder
from ftwizard.plan import plan_file
from ftwizard.providers import launcher
from ftwizard.runs.remote import RemoteJob
from tests.helpers.followed_jobs import add_attempt, run_follower
from tests.helpers.hosted_doubles import HostedDouble, OpenAIDouble, Trouble, serve_double
from tests.helpers.jobs import events

TROUBLES: tuple[Trouble, ...] = ("drop_reply", "error")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let nothing wait, and boto3 find no credentials."""
    monkeypatch.setenv("FTWIZARD_POLL_S", "0.01")
    monkeypatch.setattr("ftwizard.providers.submit.LOOK_PAUSES_S", (0.0, 0.01, 0.01))
    monkeypatch.setattr("ftwizard.providers.submit.LATE_PAUSES_S", ())
    monkeypatch.setattr("ftwizard.providers.session.FIRST_RETRY_S", 0.01)
    monkeypatch.setattr("ftwizard.providers.session.LOOK_S", 0.01)
    for name in ("INITIAL_RETRY_DELAY", "MAX_RETRY_DELAY"):
        monkeypatch.setattr(openai._base_client, name, 0.001)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostedDouble]:
    with serve_double("mantle") as service:
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
        yield service
        assert isinstance(service, OpenAIDouble)
        assert service.control.take_violations() == []


def create(root: Path, double: HostedDouble) -> JobFolder:
    assert isinstance(double, OpenAIDouble)
    rows = [
        {
            "messages": [{"role": "user", "content": f"What is {n} + {n}?"}],
            "reference_answer": 2 * n,
        }
        for n in range(130)
    ]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = {
        "provider": "mantle",
        "data": {"files": {"train": "rows.jsonl"}},
        "model": {"name": "gpt-oss-20b"},
        "mantle": {**double.settings, "n_epochs": 1, "batch_size": 10},
        "finish": {"compare": False},
    }
    path = root / "plan.yaml"
    path.write_text(json.dumps(plan))
    folder, departure = launcher.create(plan_file.load(path), "rft", lambda departure: True)
    add_attempt(folder, departure.plan)
    return folder


def require_one_job(double: HostedDouble, end: object) -> RemoteJob:
    assert isinstance(end, RemoteJob), (end, getattr(end, "hint", ""))
    assert (end.state, bool(end.tuned_model)) == ("succeeded", True)
    (job,) = double.list_jobs()
    assert job["id"] == end.job_id
    return end


def test_a_run_sends_its_training_rows_only(double: HostedDouble, tmp_path: Path) -> None:
    folder = create(tmp_path, double)
    record = require_one_job(double, run_follower(folder))

    assert list(record.files) == ["train"]
    assert record.files["train"].rows >= 100
    assert len(double.list_files()) == 1
    rewards = [event["reward"] for event in events(folder, "log") if "reward" in event]
    assert len(rewards) > 2
    assert double.key not in folder.remote.read_text()


@pytest.mark.parametrize("trouble", TROUBLES)
def test_each_call_fails_and_there_is_one_job(
    double: HostedDouble, tmp_path: Path, trouble: Trouble
) -> None:
    folder = create(tmp_path, double)
    for call in double.calls:
        double.disturb(call, trouble)
    require_one_job(double, run_follower(folder))
