"""The follower under the real SDK and a double of the platform: one job, whatever is lost."""

from __future__ import annotations

import errno
import json
import threading
import time
from pathlib import Path

import pytest

from ftwizard.jobs import requests
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.worker import EarlyEnd, Stopped
from ftwizard.runs import remote
from ftwizard.runs.remote import RemoteJob
from ftwizard.runs.summary import read_progress
from tests.doubles.openai_service import (
    QUOTA,
    UNSAFE_MODEL,
    Fault,
    JobFailure,
    Pace,
    RunningService,
    limit_rate,
)
from tests.helpers.followed_jobs import add_attempt, create_run, run_follower
from tests.helpers.jobs import events

pytestmark = pytest.mark.timeout(60)
CREATE = "POST /fine_tuning/jobs"


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FTWIZARD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FTWIZARD_POLL_S", "0.02")
    monkeypatch.setattr("ftwizard.providers.submit.LOOK_PAUSES_S", (0.0, 0.02, 0.02))
    monkeypatch.setattr("ftwizard.providers.submit.LATE_PAUSES_S", (0.02, 0.02))


def count_jobs(service: RunningService) -> int:
    return len(service.control.list_jobs())


def test_a_job_is_followed_to_its_model(openai_service: RunningService, tmp_path: Path) -> None:
    folder = create_run(tmp_path)
    record = run_follower(folder)
    assert isinstance(record, RemoteJob)
    assert record.state == "succeeded" and record.tuned_model and record.trained_tokens
    assert count_jobs(openai_service) == 1
    logged = [event["step"] for event in events(folder, "log")]
    assert logged == sorted(set(logged)) and logged[0] == 1
    progress = read_progress(folder)
    assert progress.total_steps == logged[-1] and progress.eval_loss is not None
    assert progress.epoch == 3
    assert sorted(progress.checkpoints) == [kept.step for kept in record.checkpoints]
    assert any("Created fine-tuning job" in e["message"] for e in events(folder, "remote"))
    assert (folder.path / "results.csv").read_text().startswith("step,")
    ids = [e["id"] for kind in ("remote", "log") for e in events(folder, kind)]
    assert len(ids) == len(set(ids))


def test_a_rate_limit_at_the_creation_is_waited_for(
    openai_service: RunningService, tmp_path: Path
) -> None:
    folder = create_run(tmp_path)
    openai_service.control.add_fault(limit_rate(CREATE, retry_after="0.1", times=2))
    assert isinstance(run_follower(folder), RemoteJob)
    assert count_jobs(openai_service) == 1


def test_a_follower_continues_by_its_record(openai_service: RunningService, tmp_path: Path) -> None:
    """The intent is on disk before the request: a job whose reply never came is found."""
    folder = create_run(tmp_path)
    openai_service.control.add_fault(Fault(on=CREATE, action="drop_reply"))
    openai_service.control.add_fault(Fault(on="GET /fine_tuning/jobs", status=403, times=None))
    end = run_follower(folder)
    assert isinstance(end, EarlyEnd) and "may exist" in end.message
    record = remote.read(folder)
    assert record and record.requested and record.job_id is None
    openai_service.control.clear_faults()
    add_attempt(folder)
    assert isinstance(run_follower(folder), RemoteJob)
    assert count_jobs(openai_service) == 1


def test_a_job_that_appears_late_after_a_crash_is_no_second_one(
    openai_service: RunningService, tmp_path: Path
) -> None:
    """A request that was cut off by a crash may take effect while the job is looked up."""
    folder = create_run(tmp_path)
    openai_service.control.add_fault(Fault(on=CREATE, action="drop_reply"))
    openai_service.control.add_fault(Fault(on="GET /fine_tuning/jobs", status=403, times=None))
    assert isinstance(run_follower(folder), EarlyEnd)
    openai_service.control.clear_faults()
    nothing = {"object": "list", "data": [], "has_more": False}
    looks = 2 * 4  # by its tag and in the whole list, one time more than without a crash
    openai_service.control.add_fault(
        Fault(on="GET /fine_tuning/jobs", status=200, body=nothing, times=looks)
    )
    add_attempt(folder)
    assert isinstance(run_follower(folder), RemoteJob)
    assert count_jobs(openai_service) == 1


def test_a_job_that_is_listed_late_is_no_second_one(
    openai_service: RunningService, tmp_path: Path
) -> None:
    """A listing may lag behind the creation whose reply was lost."""
    folder = create_run(tmp_path)
    nothing = {"object": "list", "data": [], "has_more": False}
    openai_service.control.add_fault(Fault(on=CREATE, action="drop_reply"))
    openai_service.control.add_fault(
        Fault(on="GET /fine_tuning/jobs", status=200, body=nothing, times=2 * 4)
    )
    assert isinstance(run_follower(folder), RemoteJob)
    assert count_jobs(openai_service) == 1


def test_a_follower_that_was_stopped_continues(
    openai_service: RunningService, tmp_path: Path
) -> None:
    folder = create_run(tmp_path)
    openai_service.control.change(pace=Pace(clock="polls", steps=5))
    stop_at = "GET /fine_tuning/jobs/{fine_tuning_job_id}/checkpoints"
    openai_service.control.add_fault(Fault(on=stop_at, status=401))
    first = run_follower(folder)
    copied = len(events(folder, "log"))
    assert copied and isinstance(first, RemoteJob)
    add_attempt(folder)
    assert isinstance(run_follower(folder), RemoteJob)
    steps = [event["step"] for event in events(folder, "log")]
    assert len(steps) == copied == len(set(steps))
    assert count_jobs(openai_service) == 1


def test_a_full_disk_creates_no_job_whose_intent_is_not_on_it(
    openai_service: RunningService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, write = create_run(tmp_path), remote.write

    def fill(path: JobFolder, record: RemoteJob) -> None:
        if record.requested is not None:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, record)

    monkeypatch.setattr(remote, "write", fill)
    with pytest.raises(OSError, match="No space"):
        run_follower(folder)
    assert count_jobs(openai_service) == 0


@pytest.mark.parametrize("may_exist", [False, True])
def test_the_record_of_a_refused_job_says_whether_one_may_exist(
    openai_service: RunningService, tmp_path: Path, may_exist: bool
) -> None:
    folder = create_run(tmp_path)
    if may_exist:
        openai_service.control.add_fault(Fault(on=CREATE, action="drop_request"))
    openai_service.control.add_fault(Fault(on=CREATE, status=400))
    end = run_follower(folder)
    assert isinstance(end, EarlyEnd) and "No job was created" in end.message
    record = remote.read(folder)
    assert record and (record.requested is not None) is may_exist


def test_events_that_an_attempt_did_not_copy_are_copied_by_the_next(
    openai_service: RunningService, tmp_path: Path
) -> None:
    """It was killed after the newest messages, before the metrics, which fill several pages."""
    folder = create_run(tmp_path, rows=160)
    assert isinstance(run_follower(folder), RemoteJob)
    steps = [event["step"] for event in events(folder, "log")]
    assert len(steps) > 200
    lines = folder.events.read_text().splitlines(keepends=True)
    is_metric = [json.loads(line)["kind"] in ("log", "eval") for line in lines]
    cut = is_metric.index(True) + 5
    kept = [line for n, line in enumerate(lines) if n < cut or not is_metric[n]]
    folder.events.write_text("".join(kept))
    add_attempt(folder)
    assert isinstance(run_follower(folder), RemoteJob)
    assert [event["step"] for event in events(folder, "log")] == steps


def test_a_pause_is_carried_out_once_the_job_runs(
    openai_service: RunningService, tmp_path: Path
) -> None:
    folder = create_run(tmp_path)
    openai_service.control.change(pace=Pace(clock="polls", steps=2))
    requests.send(folder, "pause", 1)
    threading.Thread(target=continue_once_paused, args=(folder,)).start()
    assert isinstance(run_follower(folder), RemoteJob)
    assert "paused" in [event["phase"] for event in events(folder, "phase")]


def continue_once_paused(folder: JobFolder) -> None:
    end = time.monotonic() + 30
    while (record := remote.read(folder)) is None or record.state != "paused":
        assert time.monotonic() < end, record
        time.sleep(0.01)
    requests.send(folder, "continue", 1)


def test_a_stop_before_the_job_creates_none(openai_service: RunningService, tmp_path: Path) -> None:
    folder = create_run(tmp_path)
    requests.send(folder, "stop", 1)
    assert isinstance(run_follower(folder), Stopped)
    assert count_jobs(openai_service) == 0


def test_a_job_is_canceled_by_a_request(openai_service: RunningService, tmp_path: Path) -> None:
    folder = create_run(tmp_path)
    openai_service.control.change(pace=Pace(clock="manual"))
    requests.send(folder, "cancel", 1)
    end = run_follower(folder)
    assert isinstance(end, EarlyEnd) and end.end_reason == "cancelled"
    assert all(job["status"] == "cancelled" for job in openai_service.control.list_jobs())


def test_an_unknown_status_and_unknown_events_are_followed(
    openai_service: RunningService, tmp_path: Path
) -> None:
    folder = create_run(tmp_path)
    openai_service.control.change(
        failure=None, pace=Pace(clock="polls", steps=1), odd_status="thinking", odd_events=True
    )
    record = run_follower(folder)
    assert isinstance(record, RemoteJob) and record.state == "succeeded"


@pytest.mark.parametrize(
    ("failure", "words", "hint"),
    [
        (JobFailure(), "invalid_training_file", "ftwizard check"),
        (QUOTA, "exceeded_quota", "Add credit"),
        (UNSAFE_MODEL, "moderation", "unsafe"),
    ],
)
def test_a_failed_job_has_its_cause_and_a_next_step(
    openai_service: RunningService, tmp_path: Path, failure: JobFailure, words: str, hint: str
) -> None:
    folder = create_run(tmp_path)
    openai_service.control.change(failure=failure)
    end = run_follower(folder)
    assert isinstance(end, EarlyEnd) and end.end_reason == "failed"
    assert words in end.message and hint in end.hint


def test_a_job_canceled_elsewhere_ends_as_canceled(
    openai_service: RunningService, tmp_path: Path
) -> None:
    folder = create_run(tmp_path)
    openai_service.control.change(pace=Pace(clock="polls", steps=1))
    openai_service.control.add_fault(
        Fault(on="GET /fine_tuning/jobs/{fine_tuning_job_id}/events", action="hold", skip=3)
    )
    canceler = threading.Thread(target=_cancel_held, args=(openai_service,))
    canceler.start()
    end = run_follower(folder)
    canceler.join()
    assert isinstance(end, EarlyEnd) and end.end_reason == "cancelled"
    assert "at OpenAI" in end.message


def _cancel_held(service: RunningService) -> None:
    service.control.wait_for_held()
    service.control.cancel()
    service.control.release()


def test_the_plan_may_cancel_a_job_that_diverges(
    openai_service: RunningService, tmp_path: Path
) -> None:
    folder = create_run(
        tmp_path, rows=160, hosted={"cancel_on": ["diverged"]}, openai={"batch_size": 4}
    )
    openai_service.control.change(curve="diverges", pace=Pace(clock="polls", steps=4))
    end = run_follower(folder)
    assert isinstance(end, EarlyEnd) and end.end_reason == "cancelled"
    assert "diverged" in end.message


def test_without_leave_of_the_plan_a_diagnosis_only_warns(
    openai_service: RunningService, tmp_path: Path
) -> None:
    folder = create_run(tmp_path, rows=160, openai={"batch_size": 4})
    openai_service.control.change(curve="diverges", pace=Pace(clock="polls", steps=4))
    record = run_follower(folder)
    assert isinstance(record, RemoteJob) and record.state == "succeeded"
    assert "diverged" in [event["code"] for event in events(folder, "finding")]
