"""Real runs that are stopped or killed at any time, then resumed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time

import pytest

from ftwizard.jobs.events import EventWriter
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import observe
from ftwizard.runs import checkpoints
from tests.e2e import tmux
from tests.e2e.cli import FTWIZARD, as_json, ok, run
from tests.e2e.workspace import LONG, Workspace, losses
from tests.helpers.jobs import command_pid, end_all, events, until, until_ended, until_step
from tests.helpers.progress import check_summary
from tests.helpers.results import read_target

pytestmark = pytest.mark.slow
KILLS = 10


def test_resumed_run_matches_an_uninterrupted_run(small_workspace: Workspace) -> None:
    """The other run was stopped while it loaded, and then trained without a stop."""
    plan = small_workspace.plan(epochs=3, evaluation_steps=10, save_steps=10)
    straight = small_workspace.train(plan, "straight")
    began = time.monotonic()
    assert "was stopped" in ok("stop", "straight")
    assert time.monotonic() - began < 30
    assert not events(straight, "log"), "it ended before any step"
    assert "the start" in ok("resume", "straight")
    assert until_ended(straight, 120).end_reason == "finished"
    assert {e["attempt"] for e in events(straight, "log")} == {2}
    halting = small_workspace.train(plan, "halting")
    until_step(halting, 4, 60)
    assert "was stopped" in ok("stop", "halting")
    stopped_at = max(losses(halting))
    assert checkpoints.all_complete(halting.checkpoints)[-1].step == stopped_at
    assert as_json("status", "halting")["state"] == "ended"
    resumed = ok("resume", "halting", "--price", "machine=36")
    assert f"checkpoint-{stopped_at} (attempt 2)" in resumed
    assert until_ended(halting, 120).end_reason == "finished"
    again = [e["step"] for e in events(halting, "log") if e["attempt"] == 2]
    assert again[0] == stopped_at + 1, "no step is repeated"
    assert losses(halting) == losses(straight)
    tokens = [events(f, "log")[-1]["tokens"] for f in (halting, straight)]
    assert tokens[0] == tokens[1]
    same = [hashlib.sha256((f.adapter / "adapter_model.safetensors").read_bytes()).digest()
            for f in (halting, straight)]  # fmt: skip
    assert same[0] == same[1]
    actual = json.loads(halting.result.read_text())["actual"]
    on_gpu = "GPU" in actual["peak_memory"]["source"]
    assert {e["memory_on_gpu"] for e in events(halting, "log")} == {on_gpu}
    cost = actual["cost"]
    assert cost["value"] > 0 and "$36.00 per hour" in cost["source"], "the price was set on resume"
    check_summary(halting)
    refused = run("resume", "halting")
    assert refused.returncode == 1 and "has finished" in refused.stderr


@pytest.mark.timeout(900)
def test_every_step_is_recorded_after_ten_kills(small_workspace: Workspace) -> None:
    """At most the steps since the last checkpoint are repeated, with equal losses.

    A SIGTERM at the end saves a checkpoint first.
    """
    plan = small_workspace.plan(rows=60, epochs=LONG, save_steps=4, evaluation_steps=8, patience=99)
    folder = small_workspace.train(plan, "chaos")
    dice = random.Random(7)
    kills = 0
    while kills < KILLS:
        # Kill it while it loads or some steps into training, including during a save.
        if dice.random() < 0.4:
            time.sleep(dice.uniform(0.3, 6))
        else:
            until_step(folder, max(losses(folder), default=0) + dice.randint(1, 9), 120)
            time.sleep(dice.uniform(0, 0.2))
        status = observe(folder)
        if status.state != "ended":
            os.kill(command_pid(folder), signal.SIGKILL)
            kills += 1
            until_ended(folder)
        elif status.end_reason == "finished":
            break
        before = checkpoints.all_complete(folder.checkpoints)
        ok("resume", "chaos")
        origin = folder.read_attempt(folder.newest_attempt()).checkpoint
        assert origin == (f"checkpoints/{before[-1].name}" if before else None)
    assert kills == KILLS, f"the run ended after {kills} kills: add more rows"
    until_step(folder, max(losses(folder), default=0) + 9, 120)  # past an evaluation
    os.kill(command_pid(folder), signal.SIGTERM)
    status = until_ended(folder, 120)
    assert status.end_reason == "stopped", folder.log.read_text()[-2000:]
    check_summary(folder)
    result = losses(folder)
    assert checkpoints.all_complete(folder.checkpoints)[-1].step == max(result)
    assert sorted(result) == list(range(1, max(result) + 1))
    for number in range(1, folder.newest_attempt() + 1):
        steps = [e["step"] for e in events(folder, "log") if e["attempt"] == number]
        origin = folder.read_attempt(number).checkpoint
        start = int(origin.rpartition("-")[2]) if origin else 0
        assert steps == list(range(start + 1, start + 1 + len(steps)))
    assert checkpoints.find_best(checkpoints.all_complete(folder.checkpoints))


def is_in(folder: JobFolder, phase: str) -> bool:
    return [event["phase"] for event in events(folder, "phase")][-1:] == [phase]


def test_run_killed_while_finishing_resumes_to_the_end(workspace: Workspace) -> None:
    """A stop as the base model answers; kills during the merge, during the comparison and just
    before the adapter is written.
    """
    plan = workspace.plan(finish=True, max_steps=3)
    folder = workspace.train(plan, "late")
    until(folder, lambda _: is_in(folder, "comparing"), 120)
    assert "was stopped" in ok("stop", "late")
    assert not events(folder, "log"), "the base model answers before the first step"
    ok("resume", "late")
    until_step(folder, 1, 60)
    (workspace.root / "plan.jsonl").rename(workspace.root / "away.jsonl")
    for phase in ("merging", "comparing"):
        until(folder, lambda _, phase=phase: is_in(folder, phase), 120)  # type: ignore[misc]
        os.kill(command_pid(folder), signal.SIGKILL)
        until_ended(folder)
        if phase == "merging":
            assert not folder.merged.exists()
            (workspace.root / "away.jsonl").rename(workspace.root / "plan.jsonl")
        ok("resume", "late")
    assert until_ended(folder, 120).end_reason == "finished"
    assert read_target(folder).n == 2
    assert {e["attempt"] for e in events(folder, "log")} == {2}, "no step is repeated"
    merged = (folder.merged / "model.safetensors").read_bytes()

    # Killed just before the adapter is written: training is over, so no step is added.
    shutil.rmtree(folder.adapter)
    folder.trained.unlink()
    shutil.rmtree(folder.merged)
    folder.result.unlink()
    writer = EventWriter(folder.events, folder.newest_attempt())
    writer.write("done", end_reason="killed")
    writer.close()
    ok("resume", "late")
    assert until_ended(folder, 120).end_reason == "finished"
    assert {e["attempt"] for e in events(folder, "log")} == {2}
    assert (folder.merged / "model.safetensors").read_bytes() == merged


def test_run_survives_a_killed_terminal_and_can_be_watched(
    small_workspace: Workspace,
) -> None:
    if not tmux.is_installed():
        pytest.skip("tmux is not installed")
    plan = small_workspace.plan(rows=100, epochs=3, save_steps=100, evaluation_steps=100)
    environment = {k: os.environ[k] for k in ("FTWIZARD_HOME", "OMP_NUM_THREADS", "HF_HUB_OFFLINE")}
    command = f"{FTWIZARD} train {plan} --name tied --watch"
    with tmux.Tmux(command, environment=environment) as terminal:
        terminal.wait(r"training +step ([3-9]|\d+\d) of [\d,]+[^$]*loss +\d", 90)
        terminal.kill()
    folder = small_workspace.folder("tied")
    recorded = max(losses(folder))
    until_step(folder, recorded + 2, 60)
    with tmux.Tmux(f"{FTWIZARD} watch tied", environment=environment) as terminal:
        terminal.wait(r"step +[\d,]+ of [\d,]+", 30)
        terminal.keys("Escape")
        terminal.wait(r"Run tied keeps running\. Come back with: ftwizard watch tied")
        terminal.wait(r"exit=0")
    assert observe(folder).state == "running"
    assert "Run tied finished" in ok("watch", "tied", timeout=600)
    assert sorted(losses(folder)) == list(range(1, max(losses(folder)) + 1))


def test_only_one_of_six_concurrent_train_commands_starts(small_workspace: Workspace) -> None:
    plan = small_workspace.plan(epochs=LONG)
    command = [str(FTWIZARD), "train", str(plan), "--name", "six"]
    racers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    ends = [(*racer.communicate(timeout=180), racer.returncode) for racer in racers]
    assert sorted(code for _, _, code in ends) == [0, 1, 1, 1, 1, 1]
    for out, err, code in ends:
        assert out.strip() == ("six" if code == 0 else "")
        assert code == 0 or "Run six is already running" in err or "A run named six" in err
    assert "already running" in run("train", plan, "--name", "six").stderr
    assert small_workspace.folder("six").newest_attempt() == 1


def test_unnamed_runs_of_one_second_get_the_next_free_name(small_workspace: Workspace) -> None:
    """The names of the next minutes are taken, so that all three starts meet a taken name."""
    plan, now = small_workspace.plan(epochs=LONG), time.time()
    for second in range(240):
        stamp = time.strftime("%m%d-%H%M%S", time.localtime(now + second))
        (small_workspace.home / "runs" / f"plan-{stamp}").mkdir(parents=True)
    racers = [
        subprocess.Popen([str(FTWIZARD), "train", str(plan)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    ids = [racer.communicate(timeout=240)[0].strip() for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    assert len(set(ids)) == 3 and all(re.fullmatch(r"plan-\d{4}-\d{6}-[234]", i) for i in ids)
    end_all(small_workspace.home)  # before they load what trains
    child = ok("branch", ids[0], "--rate-times", "0.5", "--from", "start", "--json")
    assert re.fullmatch(r"plan-\d{4}-\d{6}-2", json.loads(child)["id"])
