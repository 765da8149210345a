"""Disks that fail during a job: for a moment, and for good."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ftwizard.jobs import launch, rescue
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import observe
from ftwizard.runs import checkpoints
from ftwizard.runs.store import make_status
from ftwizard.runs.summary import read_progress
from ftwizard.train import checkpoint_rotation, command
from tests.helpers import disks, training
from tests.helpers.jobs import (
    command_pid,
    events,
    make,
    start,
    until,
    until_ended,
    until_step,
)

Break = Callable[[str], None]


@pytest.fixture
def fail(failing_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Break:
    """Return a function that makes calls of the jobs fail from now on: lines of the control file."""
    control = tmp_path / "control"
    monkeypatch.setenv("LD_PRELOAD", str(failing_disk))
    monkeypatch.setenv("DISK_DOUBLE", str(control))
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    def write(lines: str) -> None:
        control.with_suffix(".new").write_text(lines)
        control.with_suffix(".new").rename(control)

    return write


def steps(folder: JobFolder) -> list[int]:
    return [event["step"] for event in events(folder, "log")]


def newest_step(folder: JobFolder) -> int:
    return max(steps(folder), default=0)


def until_counter(folder: JobFolder, step: int) -> None:
    """Wait until the work reached a step, by what it saved."""
    saved = folder.path / "counter.json"
    until(folder, lambda _: saved.exists() and json.loads(saved.read_text())["step"] >= step)


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.ESTALE])
def test_an_outage_of_the_events_is_survived_and_reported(
    tmp_path: Path, fail: Break, number: int
) -> None:
    folder = start(make(tmp_path / "run", steps=300))
    until_step(folder, 5)
    fail(f"{number} w events.jsonl\n{number} ow machine.\n")
    reached = newest_step(folder)
    until_counter(folder, reached + 30)
    assert newest_step(folder) == reached, "the events wait in memory"
    fail("")
    assert until_ended(folder).end_reason == "finished"
    assert steps(folder) == list(range(1, 301))
    (finding,) = [e for e in events(folder, "finding") if e["code"] == "disk_error"]
    assert finding["message"].startswith("The disk did not take writes for ")
    assert finding["message"].endswith("; nothing was lost.")
    assert finding["evidence"] == {"lost": 0, "errno": number}


def test_a_failed_sync_is_reported(tmp_path: Path, fail: Break) -> None:
    """The kernel reports a failed fdatasync once, then forgets which bytes were lost."""
    folder = start(make(tmp_path / "run", steps=200))
    until_step(folder, 2)
    fail(f"{errno.EIO} s events.jsonl\n")
    until_step(folder, 100)
    fail("")
    assert until_ended(folder).end_reason == "finished"
    (finding,) = [e for e in events(folder, "finding") if e["code"] == "disk_error"]
    assert finding["severity"] == "warning"
    assert "a power loss may still lose the events of that time" in finding["message"]


def test_events_that_never_reached_the_disk_are_kept_on_another_until_the_next_start(
    tmp_path: Path, fail: Break
) -> None:
    folder = start(make(tmp_path / "run", steps=150))
    until_step(folder, 2)
    fail(f"{errno.EIO} ows run/events.jsonl\n{errno.EROFS} or run/.state.json\n")
    status = until_ended(folder)
    assert status.end_reason == "finished", "all of its work was done and saved"
    assert newest_step(folder) < 150
    state = folder.read_state()
    assert state and state.state == "running", "the keeper could not replace it"
    fail("")
    rescue.bring_back(folder)
    assert steps(folder) == list(range(1, 151))
    assert observe(folder).end_reason == "finished"
    assert not list((tmp_path / "cache" / "rescued").iterdir())


def test_a_lasting_error_ends_as_a_disk_error_with_its_cause(tmp_path: Path, fail: Break) -> None:
    folder = start(make(tmp_path / "run", steps=300))
    until_step(folder, 2)
    fail(f"{errno.EROFS} owsr {folder.path}/\n")
    status = until_ended(folder)
    assert (status.end_reason, status.exit_code) == ("disk_error", 1)
    assert status.message.startswith(f"Read-only file system: {folder.path}/")
    assert make_status(folder, status, read_progress(folder)).message == status.message
    fail("")
    start(folder)
    assert until_ended(folder).end_reason == "finished"
    assert sorted(set(steps(folder))) == list(range(1, 301))


def test_the_keeper_survives_a_disk_that_fails_from_its_start(tmp_path: Path, fail: Break) -> None:
    folder = make(tmp_path / "run", steps=100)
    fail(f"{errno.EIO} ow ballast\n{errno.EIO} ow heartbeat\n{errno.ESTALE} ow machine.\n")
    start(folder)
    until_step(folder, 20)
    assert not folder.heartbeat.exists() and not folder.ballast.exists()
    fail("")
    until(folder, lambda _: folder.heartbeat.exists())
    assert until_ended(folder).end_reason == "finished"


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a separate file system of 1 MB."""
    with disks.mount(tmp_path, "1m") as disk:
        yield disk


def test_events_lost_on_a_full_disk_are_written_by_the_next_start(
    tmp_path: Path, tiny_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))
    # Each event has 20 KB, so that those of a few steps exceed what the keeper frees.
    folder = start(make(tiny_disk / "run", steps=30, step_s=0.1, pad=20_000))
    until_step(folder, 2)
    filler = tiny_disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 12))
    status = until_ended(folder)
    assert status.end_reason == "disk_full"
    done = newest_step(folder)
    assert list((tmp_path / "cache" / "rescued").iterdir())
    filler.unlink()
    start(folder)
    assert until_ended(folder).end_reason == "finished"
    first = [e["step"] for e in events(folder, "log") if e["attempt"] == 1]
    assert first == list(range(1, len(first) + 1)) and len(first) >= done
    assert [e["end_reason"] for e in events(folder, "done")] == ["disk_full", "finished"]
    assert not list((tmp_path / "cache" / "rescued").iterdir())


def start_training(folder: JobFolder) -> JobFolder:
    """Start a prepared training from its newest checkpoint, under a real keeper."""
    launch.start(
        folder,
        command.build_argv(folder.path),
        find_start=lambda: checkpoint_rotation.choose_beginning(folder),
    )
    return folder


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_saved_does_not_end_the_training(
    tmp_path: Path, fail: Break
) -> None:
    folder = training.prepare(tmp_path, "run", training=24)
    fail(f"{errno.EIO} ow checkpoint-4/\n")
    start_training(folder)
    assert until_ended(folder, 60).end_reason == "finished"
    (finding,) = [e for e in events(folder, "finding") if e["code"] == "unsaved"]
    assert finding["step"] == 4
    assert f"(Input/output error: {folder.checkpoints}/checkpoint-4/" in finding["message"]
    assert 4 not in [marker.step for marker in checkpoints.all_complete(folder.checkpoints)]


@pytest.mark.slow
def test_weights_that_the_disk_does_not_take_are_kept_on_another_and_taken_back(
    tmp_path: Path, fail: Break
) -> None:
    folder = training.prepare(tmp_path, "run", training=24)
    fail(f"{errno.EROFS} w {folder.checkpoints}\n")
    start_training(folder)
    status = until_ended(folder, 60)
    assert status.end_reason == "disk_error"
    (rescued,) = (tmp_path / "cache" / "rescued").iterdir()
    assert status.message.startswith(f"Read-only file system: {folder.checkpoints}")
    assert f"The weights of step 12 are in {rescued}/checkpoints" in status.message
    assert checkpoints.all_complete(folder.checkpoints) == []
    fail("")
    start_training(folder)
    assert until_ended(folder, 60).end_reason == "finished"
    assert [e["step"] for e in events(folder, "log")] == list(range(1, 13)), "no step was repeated"
    assert not rescued.exists()


@pytest.mark.slow
def test_a_resumed_run_names_the_steps_whose_events_were_lost(tmp_path: Path, fail: Break) -> None:
    folder = training.prepare(tmp_path, "run", training=400, save_steps=10, evaluation_steps=1000)
    start_training(folder)
    until_step(folder, 3, 60)
    fail(f"{errno.EIO} ws run/events.jsonl\n")
    until(folder, lambda _: bool(checkpoints.all_complete(folder.checkpoints)))
    reached = newest_step(folder)
    os.kill(command_pid(folder), signal.SIGKILL)
    assert until_ended(folder).end_reason == "killed"
    fail("")
    saved = checkpoints.all_complete(folder.checkpoints)[-1].step
    start_training(folder)
    assert until_ended(folder, 60).end_reason == "finished"
    (finding,) = [e for e in events(folder, "finding") if e["code"] == "lost_events"]
    assert finding["evidence"] == {"first": reached + 1, "last": saved}
