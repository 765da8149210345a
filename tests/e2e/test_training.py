"""A real trainer on a real model: watched, stopped, killed, resumed, merged, compared."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from ftwizard import checkpoints
from ftwizard.jobs.events import EventWriter
from ftwizard.jobs.status import observe
from tests.e2e import tmux
from tests.e2e.cli import FTWIZARD, as_json, ok, run
from tests.e2e.lab import Lab, losses
from tests.jobs_helpers import command_pid, events, keeper_pid, until, until_ended, until_step

pytestmark = pytest.mark.slow
TOOL_USE = Path(__file__).parents[1] / "data" / "tool_use.jsonl"
KILLS = 20
LONG = 12
"""Epochs in which the quick model does not get to the end before one has looked at it."""


def test_stopped_and_resumed_it_ends_as_if_it_had_run_through(lab: Lab) -> None:
    plan = lab.plan()
    straight = lab.train(plan, "straight")
    until_ended(straight, 120)
    halting = lab.train(plan, "halting")
    until_step(halting, 4, 60)
    assert "was stopped" in ok("stop", "halting")
    stopped_at = max(losses(halting))
    assert checkpoints.all_complete(halting.checkpoints)[-1].step == stopped_at
    assert as_json("status", "halting")["state"] == "ended"
    resumed = ok("resume", "halting", "--price", "machine=36")
    assert f"checkpoint-{stopped_at} (attempt 2)" in resumed
    assert until_ended(halting, 120).end_reason == "finished"
    again = [e["step"] for e in events(halting, "log") if e["attempt"] == 2]
    assert again[0] == stopped_at + 1, "nothing was done twice"
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
    assert cost["value"] > 0 and "$36.00 an hour" in cost["source"], "said when it was resumed"
    refused = run("resume", "halting")
    assert refused.returncode == 1 and "has finished" in refused.stderr


@pytest.mark.timeout(900)
def test_after_twenty_kills_every_step_is_on_record(quick: Lab) -> None:
    """SPEC: at most the steps since the last checkpoint are done again, with equal losses."""
    plan = quick.plan(rows=160, epochs=LONG, save_steps=4, evaluation_steps=24, patience=99)
    folder = quick.train(plan, "chaos")
    dice = random.Random(7)
    kills = 0
    while kills < KILLS:
        # While it loads, or some steps into the training, saves included.
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
    assert kills == KILLS, f"the run was over after {kills} kills: give it more rows"
    until_step(folder, max(losses(folder), default=0) + 5, 120)
    ok("stop", "chaos")
    status = until_ended(folder, 120)
    assert status.end_reason == "stopped", folder.log.read_text()[-2000:]
    found = losses(folder)
    assert sorted(found) == list(range(1, max(found) + 1))
    for number in range(1, folder.newest_attempt() + 1):
        steps = [e["step"] for e in events(folder, "log") if e["attempt"] == number]
        origin = folder.read_attempt(number).checkpoint
        start = int(origin.rpartition("-")[2]) if origin else 0
        assert steps == list(range(start + 1, start + 1 + len(steps)))
    assert checkpoints.best(checkpoints.all_complete(folder.checkpoints))


def test_a_file_of_others_goes_to_a_merged_and_compared_model(lab: Lab) -> None:
    plan = lab.plan(data=TOOL_USE, rows=96, finish=True, batch_size=4, evaluation_steps=10)
    done = run("train", plan, "--name", "tools", "--watch", timeout=900)
    assert done.returncode == 0, done.stdout
    folder = lab.folder("tools")
    result = json.loads(folder.result.read_text())
    assert result["training"]["rows"]["train_used"] == 76
    compared = result["compare"]
    assert compared["rows"] == 10 and compared["schema"] is None
    assert compared["tuned"]["loss"] < compared["base"]["loss"] / 2
    assert all(p["prompt"][0]["role"] == "system" for p in compared["pairs"])
    assert (folder.merged / "model.safetensors").exists()
    for path in [folder.path, *folder.path.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_killed_while_it_finishes_it_finishes_when_resumed(lab: Lab) -> None:
    """Between the last checkpoint and the adapter, in the merge, in the comparison."""
    plan = lab.plan(finish=True)
    folder = lab.train(plan, "late")
    until_step(folder, 1, 60)
    (lab.root / "plan.jsonl").rename(lab.root / "away.jsonl")
    for phase in ("merging", "comparing"):
        until(folder, lambda _, phase=phase: any(  # type: ignore[misc]
            e["phase"] == phase for e in events(folder, "phase")), 120)  # fmt: skip
        os.kill(command_pid(folder), signal.SIGKILL)
        until_ended(folder)
        if phase == "merging":
            assert not folder.merged.exists()
            (lab.root / "away.jsonl").rename(lab.root / "plan.jsonl")
        ok("resume", "late")
    assert until_ended(folder, 120).end_reason == "finished"
    assert json.loads(folder.result.read_text())["compare"]["rows"] == 2
    assert {e["attempt"] for e in events(folder, "log")} == {1}, "no step was done twice"
    merged = (folder.merged / "model.safetensors").read_bytes()

    # A kill just before the adapter was written: the training is over, not one step is added.
    shutil.rmtree(folder.adapter)
    folder.trained.unlink()
    shutil.rmtree(folder.merged)
    folder.result.unlink()
    writer = EventWriter(folder.events, folder.newest_attempt())
    writer.write("done", end_reason="killed")
    writer.close()
    ok("resume", "late")
    assert until_ended(folder, 120).end_reason == "finished"
    assert {e["attempt"] for e in events(folder, "log")} == {1}
    assert (folder.merged / "model.safetensors").read_bytes() == merged


def test_stopped_while_it_compares_it_stops(lab: Lab) -> None:
    folder = lab.train(lab.plan(finish=True), "halt")
    until(folder, lambda _: any(e["phase"] == "comparing" for e in events(folder, "phase")), 120)
    assert "was stopped" in ok("stop", "halt")
    ok("resume", "halt")
    assert until_ended(folder, 120).end_reason == "finished"


def test_without_validation_it_trains_only_on_insistence(quick: Lab) -> None:
    plan = quick.plan()
    body = json.loads(plan.read_text())
    body["data"]["split"] = {"validation": 0}
    plan.write_text(json.dumps(body))
    refused = run("train", plan)
    assert refused.returncode == 3 and "--insist no-validation" in refused.stderr
    folder = quick.train(plan, "blind", "--insist", "no-validation")
    assert until_ended(folder, 120).end_reason == "finished"
    assert not events(folder, "eval")
    kept = json.loads(folder.trained.read_text())
    assert kept["step"] == kept["last_step"] == 24
    assert "no-validation" in folder.plan.read_text()


def test_a_term_to_the_real_trainer_saves_first(quick: Lab) -> None:
    folder = quick.train(quick.plan(rows=60, epochs=LONG), "term")
    until_step(folder, 4, 60)
    os.kill(command_pid(folder), signal.SIGTERM)
    assert until_ended(folder, 60).end_reason == "stopped"
    assert checkpoints.all_complete(folder.checkpoints)[-1].step == max(losses(folder))


def test_settings_that_the_model_cannot_follow_are_sentences(quick: Lab) -> None:
    for name, recipe, says in (
        (
            "modules",
            {"target_modules": ["q_proj", "query_key_value"]},
            "no module called query_key",
        ),
        ("half", {"precision": "fp16"}, "trains on GPUs only"),
        ("flash", {"attention": "flash_attention_2"}, "needs the package flash-attn"),
    ):
        done = run("train", quick.plan(**recipe), "--name", name, "--watch")
        assert done.returncode == 1 and says in done.stdout, done.stdout
        assert as_json("status", name)["end_reason"] == "refused"


def test_a_killed_terminal_leaves_the_run_going_and_watch_shows_it_whole(quick: Lab) -> None:
    if not tmux.is_here():
        pytest.skip("tmux is not installed")
    plan = quick.plan(rows=160, epochs=8, save_steps=100, evaluation_steps=100)
    environment = {k: os.environ[k] for k in ("FTWIZARD_HOME", "OMP_NUM_THREADS", "HF_HUB_OFFLINE")}
    command = f"{FTWIZARD} train {plan} --name tied --watch"
    with tmux.Tmux(command, environment=environment) as terminal:
        terminal.wait(r"training +step ([3-9]|\d+\d) of [\d,]+[^$]*loss +\d", 90)
        terminal.kill()
    folder = quick.folder("tied")
    seen = max(losses(folder))
    until_step(folder, seen + 2, 60)
    with tmux.Tmux(f"{FTWIZARD} watch tied", environment=environment) as terminal:
        terminal.wait(r"step +[\d,]+ of [\d,]+", 30)
        terminal.keys("Escape")
        terminal.wait(r"Run tied goes on\. Come back with: ftwizard watch tied")
        terminal.wait(r"exit=0")
    assert observe(folder).state == "running"
    assert "has finished" in ok("watch", "tied", timeout=600)
    assert sorted(losses(folder)) == list(range(1, max(losses(folder)) + 1))


def test_it_stops_by_itself_when_validation_rises(lab: Lab) -> None:
    plan = lab.plan(rows=60, learning_rate=0.05, evaluation_steps=2, save_steps=50)
    folder = lab.train(plan, "hot")
    status = until_ended(folder, 200)
    assert (status.end_reason, status.exit_code) == ("early_stopped", 0)
    (finding,) = [e for e in events(folder, "finding") if e["code"] == "early_stop"]
    evaluations = {e["step"]: e["eval_loss"] for e in events(folder, "eval")}
    best = min(evaluations, key=lambda step: (evaluations[step], step))
    assert f"at step {best}" in finding["message"]
    last = max(evaluations)
    assert sum(step > best for step in evaluations) == 3, "patience 3"
    assert last < as_json("status", "hot")["total_steps"]
    kept = json.loads(folder.trained.read_text())
    assert kept["step"] == best, "the best weights are the result"
    weights = [(folder.path / p / "adapter_model.safetensors").read_bytes()
               for p in ("adapter", f"checkpoints/checkpoint-{best}")]  # fmt: skip
    assert weights[0] == weights[1]


def test_what_the_curve_shows_is_found_while_it_trains(lab: Lab) -> None:
    plan = lab.plan(rows=60, learning_rate=0.05, evaluation_steps=2, save_steps=50, patience=6)
    folder = lab.train(plan, "watched")
    until_ended(folder, 200)
    found = [e for e in events(folder, "finding") if "confidence" in e]
    assert found, "the worker diagnoses by itself"
    verdicts = [e["code"] for e in found if e["verdict"]]
    assert all(one != other for one, other in pairwise(verdicts)), "only what changes is said"
    told = as_json("diagnose", "watched")
    assert verdicts[-1] == told["pattern"]
    evaluations = {e["step"]: e["eval_loss"] for e in events(folder, "eval")}
    assert told["best_step"] == min(evaluations, key=lambda step: (evaluations[step], step))
    assert told["best_on_disk"] == told["best_step"]


def test_a_loss_that_is_no_number_ends_the_run_by_that_name(quick: Lab) -> None:
    # A weight that is infinite makes every loss NaN, as a spoilt download or an overflow does.
    import torch
    from safetensors.torch import load_file, save_file

    broken = quick.root / "broken"
    broken.mkdir()
    for file in quick.model.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = torch.inf
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    quick.model = broken
    folder = quick.train(quick.plan(), "nan")
    status = until_ended(folder, 120)
    assert (status.end_reason, status.exit_code) == ("nan", 1)
    assert events(folder, "log")[-1]["loss"] == "nan"
    assert checkpoints.all_complete(folder.checkpoints) == []
    assert "learning_rate" in run("watch", "nan").stdout


def test_data_that_trains_on_nothing_is_refused(quick: Lab) -> None:
    done = run("train", quick.plan(max_length=10), "--name", "nothing", "--watch")
    assert done.returncode == 3, done.stdout
    assert "has a token to train on" in done.stdout
    assert as_json("status", "nothing")["end_reason"] == "refused"


def test_rows_in_are_rows_trained_or_named(quick: Lab) -> None:
    plan = quick.plan(data=TOOL_USE, rows=60, max_length=36, evaluation_steps=50)
    folder = quick.train(plan, "cut")
    assert until_ended(folder, 120).end_reason == "finished"
    data = {e["part"]: e for e in events(folder, "data")}
    assert 0 < data["train"]["kept"] < data["train"]["rows"]
    assert len(data["train"]["lost"]) == data["train"]["rows"] - data["train"]["kept"]
    assert any(e["code"] == "rows_without_loss" for e in events(folder, "finding"))
    assert as_json("status", "cut")["total_steps"] == data["train"]["kept"]
    trained = json.loads(folder.result.read_text())["training"]
    assert trained["left_out"]["train"] == data["train"]["lost"]
    assert trained["rows"]["train_used"] == data["train"]["kept"]
    assert f"{data['train']['kept']} of {data['train']['rows']} rows trained on" in ok(
        "status", "cut"
    )


def test_general_rows_are_trained_on_beside_the_own_ones_and_compared_on_nothing(
    quick: Lab,
) -> None:
    plan = quick.plan(rows=80, finish=True, batch_size=4, epochs=6, save_steps=50)
    body = json.loads(plan.read_text())
    body["data"]["mix"] = {"share": 0.1}
    plan.write_text(json.dumps(body))
    folder = quick.train(plan, "general")
    until_step(folder, 2, 60)
    ok("stop", "general")
    ok("resume", "general")
    assert until_ended(folder, 120).end_reason == "finished"
    data = {e["part"]: e for e in events(folder, "data")}
    assert (data["train"]["kept"], data["train"]["mixed"]) == (64, 7)
    result = json.loads(folder.result.read_text())
    assert result["training"]["rows"]["mix_used"] == 7
    assert as_json("status", "general")["total_steps"] == 18 * 6
    assert result["compare"]["rows"] == 8 and result["compare"]["schema"]


def test_changed_data_is_not_mixed_into_a_resumed_run(quick: Lab) -> None:
    plan = quick.plan(epochs=LONG, save_steps=50)
    folder = quick.train(plan, "mixed")
    until_step(folder, 2, 60)
    ok("stop", "mixed")
    rows = quick.root / "plan.jsonl"
    old = rows.read_text()
    rows.write_text(old.replace("high", "low", 1))
    refused = run("resume", "mixed")
    assert refused.returncode == 1 and "this has changed: train" in refused.stderr
    assert folder.newest_attempt() == 1
    rows.write_text(old)
    ok("resume", "mixed")
    until_ended(folder, 120)


def test_requests_to_save_and_evaluate_are_obeyed(quick: Lab) -> None:
    from ftwizard.jobs import requests

    plan = quick.plan(rows=40, epochs=2 * LONG, save_steps=5000, evaluation_steps=5000)
    folder = quick.train(plan, "asked")
    until_step(folder, 2, 60)
    requests.ask(folder, "evaluate", 1)
    until(folder, lambda _: bool(events(folder, "eval")), 30)
    until(folder, lambda _: bool(events(folder, "checkpoint")), 30)
    saved = len(events(folder, "checkpoint"))
    requests.ask(folder, "save", 1)
    until(folder, lambda _: len(events(folder, "checkpoint")) > saved, 30)
    assert not list(folder.requests.iterdir())
    ok("stop", "asked")


def test_a_budget_of_time_is_kept(lab: Lab) -> None:
    plan = lab.plan(rows=100)
    body = json.loads(plan.read_text())
    plan.write_text(json.dumps(body | {"budget": {"hours": 2 / 3600}}))
    folder = lab.train(plan, "short")
    until_ended(folder, 120)
    status = observe(folder)
    assert status.end_reason == "stopped"
    assert "budget.hours" in status.message
    assert checkpoints.all_complete(folder.checkpoints)[-1].step == max(losses(folder))


def test_metrics_go_where_the_plan_says(quick: Lab) -> None:
    plan = quick.plan()
    body = json.loads(plan.read_text())
    plan.write_text(json.dumps(body | {"report_to": ["tensorboard"]}))
    folder = quick.train(plan, "board")
    assert until_ended(folder, 120).end_reason == "finished"
    (written,) = folder.path.rglob("events.out.tfevents.*")
    assert b"train/loss" in written.read_bytes()


def test_no_secret_reaches_the_training(quick: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = "canary-5f1c2b7e"
    for name in ("OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "MY_PASSWORD"):
        monkeypatch.setenv(name, canary)
    folder = quick.train(quick.plan(epochs=LONG, save_steps=50), "quiet")
    until_step(folder, 1, 60)
    for process in (command_pid(folder), keeper_pid(folder)):
        assert canary.encode() not in Path(f"/proc/{process}/environ").read_bytes()
    until_ended(folder, 120)
    for path in folder.path.rglob("*"):
        if path.is_file():
            assert canary.encode() not in path.read_bytes(), path


def test_of_six_starts_at_once_one_wins(quick: Lab) -> None:
    plan = quick.plan()
    command = [str(FTWIZARD), "train", str(plan), "--name", "six"]
    racers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    ends = [(*racer.communicate(timeout=180), racer.returncode) for racer in racers]
    assert sorted(code for _, _, code in ends) == [0, 1, 1, 1, 1, 1]
    for out, err, code in ends:
        assert out.strip() == ("six" if code == 0 else "")
        assert code == 0 or "Run six is running already" in err or "There is a run six" in err
    assert "running already" in run("train", plan, "--name", "six").stderr
    assert quick.folder("six").newest_attempt() == 1
    ok("stop", "six")


def test_a_stop_while_it_loads_ends_it_at_once(quick: Lab) -> None:
    folder = quick.train(quick.plan(), "early")
    began = time.monotonic()
    assert "was stopped" in ok("stop", "early")
    assert time.monotonic() - began < 30
    assert not events(folder, "log")
    assert "the beginning" in ok("resume", "early")
    assert until_ended(folder, 120).end_reason == "finished"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 700 MB of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """Fill a disk up to its last byte, or all but ``leave`` bytes."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - leave
        try:
            while free > 0:
                free -= file.write(bytes(min(free, 1 << 20)))
        except OSError:
            pass
    return filler


@pytest.mark.parametrize("leave", [0, 40_000])
def test_a_full_disk_is_told_and_costs_nothing(
    quick: Lab, small_disk: Path, monkeypatch: pytest.MonkeyPatch, leave: int
) -> None:
    """Full to the last byte, or with room for half an adapter."""
    monkeypatch.setenv("FTWIZARD_HOME", str(small_disk))
    quick.home = small_disk
    plan = quick.plan(rows=60, epochs=8, save_steps=60, evaluation_steps=1000)
    folder = quick.train(plan, "full")
    until(folder, lambda _: len(events(folder, "checkpoint")) >= 1, 90)
    filler = fill(small_disk, leave)
    status = until_ended(folder, 90)
    assert (status.end_reason, status.exit_code) == ("disk_full", 1)
    told = run("status", "full")
    assert "disk full" in told.stdout and "Free some space" in told.stdout
    kept = checkpoints.all_complete(folder.checkpoints)
    assert kept, "the last complete checkpoint is still there"
    filler.unlink()
    ok("resume", "full")
    assert until_ended(folder, 200).end_reason == "finished"
    found = losses(folder)
    assert sorted(found) == list(range(1, max(found) + 1))


def test_a_disk_that_is_full_before_the_start(quick: Lab, small_disk: Path) -> None:
    fill(small_disk, 2_000_000)
    refused = run("train", quick.plan(), environment={"FTWIZARD_HOME": str(small_disk)})
    assert refused.returncode == 1
    assert "are free where" in refused.stderr
    assert not list((small_disk / "runs").iterdir())


def test_a_home_on_a_read_only_disk(quick: Lab, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    refused = run("train", quick.plan(), environment={"FTWIZARD_HOME": str(small_disk / "home")})
    assert refused.returncode == 1
    assert "Cannot write to" in refused.stderr and "FTWIZARD_HOME" in refused.stderr
