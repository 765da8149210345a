"""States of runs that Slurm starts, by their files and by what Slurm answers."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.jobs import launch, lock, node_secrets
from ftwizard.jobs.folder import Attempt, JobFolder, State, write_json
from ftwizard.jobs.status import observe
from ftwizard.runs import describe, store
from ftwizard.slurm import client, job_states
from ftwizard.slurm.job_states import SlurmJob
from ftwizard.train import launcher
from tests.helpers import jobs

JOB = 17


class Answers:
    """What Slurm answers in a test."""

    def __init__(self) -> None:
        self.queue: SlurmJob | None = None
        self.details: SlurmJob | None = None
        self.is_up = True

    def find(self, job_id: int) -> SlurmJob | None:
        if not self.is_up:
            raise FtwizardError("Slurm does not answer.")
        return self.queue


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    answers = Answers()
    monkeypatch.setattr(client, "find_job", answers.find)
    monkeypatch.setattr(client, "read_job", lambda job_id: answers.details)
    return answers


@pytest.fixture
def queued(tmp_path: Path, answers: Answers) -> JobFolder:
    """Return a run that was just submitted."""
    folder = jobs.make(tmp_path / "home" / "runs" / "one")
    launch.queue(folder, lambda: JOB)
    return folder


def make_job(state: str, **more: object) -> SlurmJob:
    return SlurmJob(id=JOB, state=state, **more)  # type: ignore[arg-type]


def begin(folder: JobFolder, **state: object) -> State:
    """Record that the job's first attempt began, in a place where it is not alive."""
    write_json(
        folder.attempt(1), Attempt(number=1, started=1.0, host="node1", argv=[], slurm_job=JOB)
    )
    began = State(attempt=1, started=1.0, slurm_job=JOB, **{"state": "running", **state})  # type: ignore[arg-type]
    write_json(folder.state, began)
    return began


def test_submitted_run_is_queued_with_reason_and_start(queued: JobFolder, answers: Answers) -> None:
    start = time.time() + 3600
    answers.queue = make_job("PENDING", reason="Priority", expected_start=start)
    status = observe(queued)
    assert (status.state, status.attempt) == ("queued", 1)
    report = store.read_status(queued)
    assert report.slurm and (report.slurm.job_id, report.slurm.reason) == (JOB, "Priority")
    assert report.slurm.expected_start == start
    text = describe.describe_state(report)
    assert "Slurm job 17, Priority: jobs of higher priority" in text and "expected to start" in text
    with pytest.raises(FtwizardError, match="already waits in the queue, as Slurm job 17"):
        launcher.require_resumable(queued)


def test_queued_run_stays_so_while_slurm_does_not_answer(
    queued: JobFolder, answers: Answers
) -> None:
    answers.is_up = False
    assert observe(queued).state == "queued"
    assert "Slurm does not answer" in describe.describe_state(store.read_status(queued))


def test_job_that_started_is_starting_until_its_keeper_is_up(
    queued: JobFolder, answers: Answers
) -> None:
    answers.queue = make_job("RUNNING", nodes="node1")
    assert observe(queued).state == "starting"


@pytest.mark.parametrize(
    ("details", "reason", "text"),
    [
        (make_job("FAILED", exit_status=66), "refused", "not shared"),
        (make_job("CANCELLED"), "killed", "was canceled"),
        (make_job("FAILED", exit_status=3), "crashed", "status 3"),
        (None, "lost", "left no result"),
    ],
)
def test_job_that_never_started_the_run_is_explained(
    queued: JobFolder, answers: Answers, details: SlurmJob | None, reason: str, text: str
) -> None:
    answers.details = details
    status = observe(queued)
    assert (status.state, status.end_reason) == ("ended", reason)
    assert text in status.message
    assert describe.describe_end(queued, status)


def test_exit_status_in_the_folder_counts_after_slurm_forgot_the_job(
    queued: JobFolder, answers: Answers
) -> None:
    queued.script_exit.write_text(f"{JOB} 69\n")
    (queued.path / f"slurm-{JOB}.out").write_text("start\nIt has 2.0 and the run was …\n")
    status = observe(queued)
    assert status.end_reason == "refused" and "It has 2.0" in status.message
    queued.script_exit.write_text(f"{JOB + 1} 69\n")
    assert observe(queued).end_reason == "lost", "of another job"


@pytest.mark.parametrize(
    "end", [{}, {"state": "ended", "end_reason": "stopped", "stop_cause": "signal"}]
)
def test_attempt_whose_job_is_in_the_queue_again_waits_for_the_next(
    queued: JobFolder, answers: Answers, end: dict[str, object]
) -> None:
    begin(queued, **end)
    answers.queue = make_job("PENDING", reason="BeginTime")
    status = observe(queued)
    assert (status.state, status.attempt) == ("queued", 2)
    answers.queue = make_job("RUNNING", expected_start=time.time())
    assert observe(queued).state == "starting"
    answers.queue = make_job("COMPLETING")
    assert observe(queued).state == "stopping"


def test_run_that_the_user_stopped_never_waits_again(queued: JobFolder, answers: Answers) -> None:
    begin(queued, state="ended", end_reason="stopped", stop_cause="user")
    answers.queue = make_job("PENDING")
    status = observe(queued)
    assert (status.state, status.end_reason) == ("ended", "stopped")


@pytest.mark.parametrize(
    ("state", "reason"),
    [("NODE_FAIL", "lost"), ("TIMEOUT", "killed"), ("OUT_OF_MEMORY", "out_of_memory")],
)
def test_end_that_only_slurm_knows_is_taken_from_it(
    queued: JobFolder, answers: Answers, state: str, reason: str
) -> None:
    begin(queued)
    answers.queue = answers.details = make_job(state)
    status = observe(queued)
    assert (status.state, status.end_reason) == ("ended", reason)
    assert str(JOB) in status.message


def test_node_that_failed_is_named(queued: JobFolder, answers: Answers) -> None:
    begin(queued)
    answers.queue = answers.details = make_job("NODE_FAIL", failed_node="node2")
    status = observe(queued)
    assert (status.end_reason, status.message) == ("lost", "Node node2 of Slurm job 17 failed.")


def test_failed_submission_leaves_no_state(tmp_path: Path) -> None:
    folder = jobs.make(tmp_path / "home" / "runs" / "one")

    def refuse() -> int:
        raise FtwizardError("Slurm refused the job.")

    with pytest.raises(FtwizardError, match="refused"):
        launch.queue(folder, refuse)
    assert not folder.state.exists() and not lock.is_held(folder.lock)


def test_secrets_of_a_run_are_in_a_private_file_outside_its_folder(
    tmp_path: Path, home: Path
) -> None:
    folder = jobs.make(home / "runs" / "one")
    node_secrets.save(folder, {"HF_TOKEN": "hf_x", "OTHER": "y"}, {"HF_TOKEN", "WANDB_API_KEY"})
    assert node_secrets.read(folder) == {"HF_TOKEN": "hf_x"}
    path = home / "secrets" / "one.json"
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert folder.path not in path.parents
    node_secrets.save(folder, {}, {"HF_TOKEN"})
    assert not path.exists(), "nothing is needed any more"


def test_every_state_of_slurm_has_a_phase() -> None:
    phases = {state: make_job(state).phase for state in
              ("PENDING", "RUNNING", "COMPLETING", "COMPLETED", "PREEMPTED", "NODE_FAIL", "NEW")}  # fmt: skip
    assert list(phases.values()) == ["waiting", "active", "closing", "over", "over", "over", "over"]
    assert job_states.REASONS["Priority"]
