"""Folders that are moved, renamed or removed while their job runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from ftwizard.jobs import identity, requests, rescue
from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.jobs.status import observe
from ftwizard.runs import checkpoints
from ftwizard.runs.result import read_trained
from tests.e2e.cli import ok
from tests.e2e.workspace import Workspace
from tests.helpers import training
from tests.helpers.jobs import (
    command_pid,
    events,
    keeper_pid,
    make,
    start,
    until,
    until_ended,
    until_step,
)


def move(folder: JobFolder, target: Path) -> JobFolder:
    """Move a folder as a person would."""
    target.parent.mkdir(exist_ok=True)
    subprocess.run(["mv", str(folder.path), str(target)], check=True)
    return JobFolder(target)


def test_job_follows_its_moved_folder(tmp_path: Path) -> None:
    old = start(make(tmp_path / "runs" / "job", steps=300))
    until_step(old, 5)
    new = move(old, tmp_path / "elsewhere" / "renamed")
    until_step(new, 40)
    until(new, lambda _: bool(events(new, "finding")))
    (finding,) = events(new, "finding")
    assert finding["code"] == "moved" and finding["evidence"]["to"] == str(new.path)
    beat = new.heartbeat.stat().st_mtime
    until(new, lambda _: new.heartbeat.stat().st_mtime > beat)
    assert observe(new).state == "running"
    requests.send(new, "stop", 1)
    assert until_ended(new).end_reason == "stopped"
    assert not old.path.exists(), "no ghost of the old folder"
    saved = max(event["step"] for event in events(new, "log"))
    start_again(new)
    assert until_ended(new).end_reason == "finished"
    steps = [event["step"] for event in events(new, "log")]
    assert steps == list(range(1, 301)) and saved < 300
    assert not old.path.exists()


def test_watch_of_a_moved_run_does_not_call_it_lost(tmp_path: Path) -> None:
    old = start(make(tmp_path / "job", steps=5000))
    command = [sys.executable, "-m", "ftwizard", "watch", str(old.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watch:
        assert watch.stdout and watch.stderr
        watch.stdout.readline()
        move(old, tmp_path / "moved")
        assert b"The folder of run job was moved or deleted." in watch.stderr.read()
        assert watch.wait() == 1
    assert observe(JobFolder(tmp_path / "moved")).state == "running"


def start_again(folder: JobFolder) -> None:
    """Start a job with the command for its present place, as ``resume`` does."""
    from ftwizard.jobs import launch

    launch.start(folder, [*folder.read_job().argv[:-1], str(folder.path)])


def test_job_follows_the_renamed_home(home: Path, tmp_path: Path) -> None:
    old = start(make(home / "runs" / "job", steps=60))
    until_step(old, 5)
    home.rename(tmp_path / "other")
    new = JobFolder(tmp_path / "other" / "runs" / "job")
    assert until_ended(new).end_reason == "finished"
    assert not home.exists()


def test_killed_request_reaches_a_moved_job(tmp_path: Path) -> None:
    old = start(make(tmp_path / "job", mode="hang"))
    until_step(old, 5)
    new = move(old, tmp_path / "moved")
    requests.send(new, "kill", 1)
    assert until_ended(new).end_reason == "killed"
    assert not old.path.exists()


def test_a_folder_moved_to_another_disk_ends_the_job_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, a move is a copy and a removal: nothing leads from one to the other."""
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))
    old = start(make(tmp_path / "job", steps=5000))
    until_step(old, 5)
    processes = [identity.from_pid(keeper_pid(old)), identity.from_pid(command_pid(old))]
    new = JobFolder(tmp_path / "copy")
    shutil.copytree(old.path, new.path)
    while old.path.exists():
        shutil.rmtree(old.path, ignore_errors=True)
    until(new, lambda _: not any(p and identity.is_alive(p) for p in processes))
    status = observe(new)
    assert (status.state, status.end_reason) == ("ended", "killed")
    assert status.message == "Its folder was removed while it ran, or moved to another disk."
    assert not old.path.exists()
    rescue.bring_back(new)
    assert not list((tmp_path / "cache" / "rescued").iterdir())


def test_training_saves_in_its_moved_folder(tmp_path: Path) -> None:
    """The trainer itself creates the folders of its checkpoints, from a path that it was given once."""
    old, new = JobFolder(tmp_path / "run"), JobFolder(tmp_path / "moved")

    def move_at_step_three() -> None:
        while not old.events.exists() or len(events(old, "log")) < 3:
            time.sleep(0.005)
        old.path.rename(new.path)

    mover = threading.Thread(target=move_at_step_three)
    mover.start()
    training.train(tmp_path, "run", epochs=3)
    mover.join()
    assert not old.path.exists()
    trained = read_trained(new)
    assert trained and trained.reason == "finished"
    assert [c.step for c in checkpoints.all_complete(new.checkpoints)][-1] == trained.total_steps
    assert (new.adapter / "adapter_model.safetensors").exists()


@pytest.mark.parametrize("method", ["lora", "full"])
def test_merge_and_comparison_follow_the_folder(tmp_path: Path, method: str) -> None:
    places = [JobFolder(tmp_path / name) for name in ("run", "moved", "again")]

    def after_training(folder: JobFolder) -> list[str]:
        phases = [e["phase"] for e in events(folder, "phase")]
        return phases[phases.index("merging") :] if "merging" in phases else []

    def move_in_both_phases() -> None:
        for phase, (old, new) in zip(("merging", "comparing"), pairwise(places), strict=True):
            while not old.events.exists() or phase not in after_training(old):
                time.sleep(0.002)
            old.path.rename(new.path)

    mover = threading.Thread(target=move_in_both_phases)
    mover.start()
    more = {"data": {"files": {"train": "train.jsonl", "validation": "validation.jsonl",
                               "test": "validation.jsonl"}},
            "finish": {"merge": True, "compare": True, "max_new_tokens": 4},
            "evaluate": {"general": False, "safety": False}}  # fmt: skip
    training.train(tmp_path, "run", more=more, method=method)
    mover.join()
    assert not any(place.path.exists() for place in places[:2])
    assert len((places[2].evaluations / "tuned.jsonl").read_text().splitlines()) >= 9
    marker = json.loads((places[2].merged / checkpoints.MARKER).read_text())
    # The merge of so small a model may end before the folder moves.
    assert marker["folder"] in [str(place.merged) for place in places[:2]]
    assert (places[2].merged / "model.safetensors").exists()


@pytest.mark.slow
def test_run_moved_during_training_resumes_from_its_new_place(
    small_workspace: Workspace, tmp_path: Path
) -> None:
    plan = small_workspace.plan(rows=60, epochs=4, save_steps=40, evaluation_steps=1000)
    old = small_workspace.train(plan, "wanderer")
    until(old, lambda _: len(events(old, "checkpoint")) >= 1, 90)
    new = move(old, tmp_path / "elsewhere" / "wanderer")
    until(new, lambda _: len(events(new, "checkpoint")) >= 2, 90)
    os.kill(command_pid(new), signal.SIGKILL)
    assert until_ended(new).end_reason == "killed"
    ok("resume", str(new.path))
    assert until_ended(new, 200).end_reason == "finished"
    assert (new.adapter / "adapter_model.safetensors").exists()
    assert not old.path.exists()


def test_folder_may_move_while_a_file_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    sync = os.fsync

    def move_then_sync(descriptor: int) -> None:
        if old.exists():
            old.rename(new)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", move_then_sync)
    write_json(old / "state.json", {"step": 3})
    assert json.loads((new / "state.json").read_text()) == {"step": 3}
    assert [path.name for path in new.iterdir()] == ["state.json"] and not old.exists()
