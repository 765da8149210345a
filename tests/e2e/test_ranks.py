"""Training in two processes on the CPU: equal losses, stops, kills, and resumed runs."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from ftwizard.jobs import lock, requests
from ftwizard.jobs.folder import JobFolder
from tests.e2e.cli import as_json, ok, run
from tests.e2e.workspace import Workspace, losses
from tests.helpers.jobs import (
    BUSY,
    command_pid,
    events,
    keeper_pid,
    until_ended,
    until_step,
)

pytestmark = pytest.mark.slow


def in_ranks(plan: Path, processes: int = 2) -> Path:
    """Change a plan to train in several processes."""
    body = json.loads(plan.read_text())
    body["where"] = {"processes": processes}
    plan.write_text(json.dumps(body))
    return plan


def finish(folder: JobFolder) -> JobFolder:
    """Wait until a run ended, and check that it finished."""
    status = until_ended(folder, 240)
    assert status.end_reason == "finished", (status, read_logs(folder))
    return folder


def read_logs(folder: JobFolder) -> str:
    paths = [folder.log, *sorted(folder.ranks.glob("*"))]
    return "\n".join(f"{path}\n{path.read_text(errors='replace')[-2500:]}" for path in paths)


def validation(folder: JobFolder) -> dict[int, tuple[float, float]]:
    """Return loss and accuracy of each evaluation."""
    return {
        event["step"]: (event["eval_loss"], event["eval_mean_token_accuracy"])
        for event in events(folder, "eval")
    }


@pytest.mark.parametrize("packing", [False, True])
def test_two_processes_have_the_losses_of_one(small_workspace: Workspace, packing: bool) -> None:
    """An odd number of rows: the last batches of an epoch and of an evaluation are not full."""
    size = 1 if packing else 2  # of a batch
    recipe: dict[str, Any] = {"batch_size": size, "epochs": 2, "dropout": 0.0, "packing": packing}
    one = small_workspace.plan("one", rows=31, gradient_accumulation=2 * size, **recipe)
    two = small_workspace.plan("two", rows=31, gradient_accumulation=size, **recipe)
    alone = finish(small_workspace.train(one, "one"))
    both = finish(small_workspace.train(in_ranks(two), "two"))
    expected, measured = losses(alone), losses(both)
    assert len(expected) >= 4
    assert measured == pytest.approx(expected, rel=1e-5)
    assert len(validation(alone)) >= 2
    for step, values in validation(alone).items():
        assert validation(both)[step] == pytest.approx(values, rel=1e-5)
    (phase,) = [e for e in events(both, "phase") if e["phase"] == "training"]
    assert (phase["ranks"], phase["parallel"]) == (2, "ddp")
    assert phase["first_collective_s"] >= 0


def find(folder: JobFolder, command: str) -> list[psutil.Process]:
    """Return the processes of a run that execute a hidden command, by rank."""
    matching = []
    for process in psutil.process_iter():
        try:
            argv = process.cmdline()
            if argv[-2:] == [command, str(folder.path)]:
                matching.append((int(process.environ().get("RANK", 0)), process))
        except psutil.Error:
            continue
    return [process for _, process in sorted(matching, key=lambda item: item[0])]


def until_gone(folder: JobFolder) -> None:
    """Wait until no process of the run is left and its lock is free."""
    end = time.monotonic() + BUSY * 20
    while time.monotonic() < end:
        left = [p for name in ("_work", "_ranks", "_rank") for p in find(folder, name)]
        if not left and not lock.is_held(folder.lock):
            return
        time.sleep(0.1)
    raise AssertionError(left)


def test_run_survives_kills_and_moves_to_one_process(small_workspace: Workspace) -> None:
    """The losses of all attempts are those of a run in one process that nothing disturbed.

    The last step of an epoch has one row, also where a resumed run begins in the middle of it.
    """
    recipe: dict[str, Any] = {"rows": 25, "epochs": 5, "dropout": 0.0, "save_steps": 2}
    one = small_workspace.plan("one", gradient_accumulation=2, **recipe)
    two = in_ranks(small_workspace.plan("two", gradient_accumulation=1, **recipe))
    expected = losses(finish(small_workspace.train(one, "one")))

    folder = small_workspace.train(two, "two")
    until_step(folder, 3, 200)
    refused = run("resume", "two")
    assert refused.returncode == 1
    assert "already running" in refused.stderr
    requests.send(folder, "save", 1)
    requests.send(folder, "evaluate", 1)
    until_step(folder, max(e["step"] for e in events(folder, "log")) + 4, 200)
    assert not requests.read_pending(folder, "save", 1)
    assert not requests.read_pending(folder, "evaluate", 1)
    find(folder, "_rank")[1].send_signal(signal.SIGKILL)
    status = until_ended(folder, 60)
    assert status.end_reason == "killed", (status, read_logs(folder))
    assert status.message == f"Rank 1 on {os.uname().nodename} was killed by SIGKILL."
    until_gone(folder)
    saved = max(event["step"] for event in events(folder, "checkpoint"))

    ok("resume", "two")
    until_step(folder, max(e["step"] for e in events(folder, "log")) + 2, 200)
    first = next(e for e in events(folder, "log") if e["attempt"] == 2)
    assert first["step"] == saved + 1
    report = as_json("status", "two")
    assert (report["ranks"]["processes"], report["ranks"]["parallel"]) == (2, "ddp")
    assert (report["resumed"]["step"], report["resumed"]["ranks_before"]) == (saved, 2)
    assert report["resumed"]["adapter"] and report["resumed"]["not_restored"] == {}
    ok("stop", "two")
    assert until_ended(folder, 60).end_reason == "stopped"
    until_gone(folder)

    plan = folder.plan.read_text()
    folder.plan.write_text(plan.replace("processes: 2", "processes: 1"))
    refused = run("resume", "two")
    assert refused.returncode == 3, refused.stderr
    assert "where.processes" in refused.stderr
    assert "recipe.gradient_accumulation to 2" in refused.stderr
    one_process = plan.replace("processes: 2", "processes: 1")
    folder.plan.write_text(
        one_process.replace("gradient_accumulation: 1", "gradient_accumulation: 2")
    )
    ok("resume", "two")
    finish(folder)
    moved = as_json("status", "two")["resumed"]
    assert (moved["ranks"], moved["ranks_before"]) == (1, 2)
    assert moved["restored"] == ["weights", "optimizer", "learning rate"]
    assert "saved by 2, now 1 processes" in moved["not_restored"]["random state"]
    measured = losses(folder)
    assert measured == pytest.approx(expected, rel=1e-5)


def test_nothing_is_left_when_the_processes_of_a_run_are_killed(small_workspace: Workspace) -> None:
    plan = small_workspace.plan("plan", rows=60, epochs=2, save_steps=2, evaluation_steps=50)
    folder = small_workspace.train(in_ranks(plan), "two")
    until_step(folder, 3, 200)
    for pid in (keeper_pid(folder), command_pid(folder)):
        os.kill(pid, signal.SIGKILL)
    until_gone(folder)
    assert as_json("status", "two")["end_reason"] == "lost"

    ok("resume", "two")
    until_step(folder, max(e["step"] for e in events(folder, "log")) + 3, 200)
    (agent,) = find(folder, "_ranks")
    agent.send_signal(signal.SIGKILL)
    status = until_ended(folder, 60)
    assert status.end_reason == "killed", (status, read_logs(folder))
    assert "agent" in status.message
    until_gone(folder)
