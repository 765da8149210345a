"""Real training runs: data, findings, early stopping, budgets and results."""

from __future__ import annotations

import json
import math
import os
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from ftwizard.jobs.status import observe
from ftwizard.runs import base_weights, checkpoints
from ftwizard.runs.conversation import read_rows
from tests.e2e.cli import as_json_here, ok, ok_here, run_here
from tests.e2e.workspace import LONG, Workspace, losses
from tests.helpers.checkpoints import flip_bit
from tests.helpers.jobs import command_pid, events, keeper_pid, until, until_ended, until_step
from tests.helpers.results import read_target
from tests.helpers.work_here import work_here
from tests.paths import FIXTURES

pytestmark = pytest.mark.slow
TOOL_USE = FIXTURES / "tool_use.jsonl"


def test_tool_use_file_is_trained_merged_and_compared(small_workspace: Workspace) -> None:
    plan = small_workspace.plan(
        data=TOOL_USE, rows=50, finish=True, evaluation_steps=10, epochs=2, learning_rate=2e-2
    )
    folder = small_workspace.train_here(plan, "tools")
    assert observe(folder).exit_code == 0
    result = json.loads(folder.result.read_text())
    assert result["training"]["rows"]["train_used"] == 40
    target, rows = read_target(folder), read_rows(folder)
    assert target.n == len(rows) == 5
    assert target.arms["tuned"].metric == "accuracy" and target.arms["tuned"].n == 5, (
        "calls are compared"
    )
    assert all(row.messages[0]["role"] == "system" for row in rows)
    assert (folder.merged / "model.safetensors").exists()
    for path in [folder.path, *folder.path.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_data_file_and_model_train_with_advised_settings(small_workspace: Workspace) -> None:
    data = small_workspace.plan(rows=24).with_suffix(".jsonl")
    argv = ("train", data, "--model", small_workspace.model, "--name", "first")
    with work_here():
        document = as_json_here(*argv, "--epochs", 1, "--watch")
    assert document["end_reason"] == "finished"
    kept = small_workspace.home / "plans" / "first.yaml"
    again = small_workspace.train(kept, "again")
    until(again, lambda _: again.trained.exists(), 120)  # the first run was also compared
    assert "was stopped" in ok("stop", "again")
    assert losses(again) == losses(small_workspace.folder("first"))


def test_training_without_validation_requires_allow(small_workspace: Workspace) -> None:
    plan = small_workspace.plan()
    body = json.loads(plan.read_text())
    body["data"]["split"] = {"validation": 0}
    plan.write_text(json.dumps(body))
    refused = run_here("train", plan)
    assert refused.returncode == 3 and "--allow no-validation" in refused.stderr
    folder = small_workspace.train_here(plan, "blind", "--allow", "no-validation")
    assert observe(folder).end_reason == "finished"
    assert not events(folder, "eval")
    kept = json.loads(folder.trained.read_text())
    assert kept["step"] == kept["last_step"] == 24
    assert "no-validation" in folder.plan.read_text()


def test_recipe_that_does_not_fit_the_model_is_refused(small_workspace: Workspace) -> None:
    plan = small_workspace.plan(target_modules=["q_proj", "query_key_value"])
    with work_here():
        done = run_here("train", plan, "--name", "modules", "--watch")
    assert done.returncode == 1 and "no module named query_key" in done.stdout, done.stdout
    assert as_json_here("status", "modules")["end_reason"] == "refused"


def test_early_stopping_keeps_the_best_weights(small_workspace: Workspace) -> None:
    """Meanwhile, its loss curve is diagnosed."""
    plan = small_workspace.plan(
        rows=60, learning_rate=0.05, evaluation_steps=2, save_steps=50, patience=6
    )
    folder = small_workspace.train_here(plan, "hot")
    status = observe(folder)
    assert (status.end_reason, status.exit_code) == ("early_stopped", 0)
    (finding,) = [e for e in events(folder, "finding") if e["code"] == "early_stop"]
    evaluations = {e["step"]: e["eval_loss"] for e in events(folder, "eval")}
    best = min(evaluations, key=lambda step: (evaluations[step], step))
    assert f"at step {best}" in finding["message"]
    before = math.inf
    for event in events(folder, "eval"):
        assert event["eval_rows"] == 6 and event["eval_step_noise"] > 0
        if before < math.inf:
            rise = event["eval_loss"] - before
            assert event["eval_rise"] == pytest.approx(rise, abs=1e-4), "rows weigh as in the loss"
            assert event["eval_rise_low"] <= event["eval_rise"] <= event["eval_rise_high"]
        before = min(before, event["eval_loss"])
    last = max(evaluations)
    assert sum(step > best for step in evaluations) == 6, "patience 6"
    assert last < as_json_here("status", "hot")["total_steps"]
    kept = json.loads(folder.trained.read_text())
    assert kept["step"] == best, "the best weights are the result"
    weights = [(folder.path / p / "adapter_model.safetensors").read_bytes()
               for p in ("adapter", f"checkpoints/checkpoint-{best}")]  # fmt: skip
    assert weights[0] == weights[1]

    result = [e for e in events(folder, "finding") if "confidence" in e]
    assert result, "the worker reports its diagnoses"
    verdicts = [(e["code"], e["message"]) for e in result if e["verdict"]]
    assert all(item != other for item, other in pairwise(verdicts)), (
        "a verdict is reported only when it or its figures change"
    )
    document = as_json_here("diagnose", "hot")
    assert verdicts[-1][0] == document["pattern"]
    assert document["best_on_disk"] == document["best_step"] == best


def test_nan_loss_ends_the_run_as_nan(small_workspace: Workspace) -> None:
    # An infinite weight makes every loss NaN, like a corrupt download or an overflow.
    import torch
    from safetensors.torch import load_file, save_file

    broken = small_workspace.root / "broken"
    broken.mkdir()
    for file in small_workspace.model.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = torch.inf
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    small_workspace.model = broken
    folder = small_workspace.train_here(small_workspace.plan(), "nan")
    status = observe(folder)
    assert (status.end_reason, status.exit_code) == ("nan", 1)
    assert events(folder, "log")[-1]["loss"] == "nan"
    assert checkpoints.all_complete(folder.checkpoints) == []
    assert "ftwizard branch nan --rate-times 0.5" in run_here("watch", "nan").stdout


def test_changed_base_weights_are_refused_until_they_are_restored(
    small_workspace: Workspace,
) -> None:
    """One flipped bit; size, header and modification time stay."""
    weights = small_workspace.root / "copy" / "model.safetensors"
    shutil.copytree(small_workspace.model, weights.parent)
    small_workspace.model = weights.parent
    plan = small_workspace.plan(rows=60, epochs=LONG)
    folder = small_workspace.train_here(plan, "halt", stop_after=7)
    before = weights.stat()
    flip_bit(weights)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    for command in (("resume", "halt"), ("branch", "halt", "--rate-times", "0.5", "--name", "kid")):
        done = run_here(*command)
        assert done.returncode == 1
        assert f"The base weights {weights} changed since run halt started." in done.stderr
    assert not small_workspace.folder("kid").path.exists()
    flip_bit(weights)
    halted_at = max(losses(folder))
    with work_here(stop_after=2):
        ok_here("resume", "halt")
        assert max(losses(folder)) > halted_at
        ok_here("branch", "halt", "--rate-times", "0.5", "--name", "kid")
    kid = small_workspace.folder("kid")
    assert base_weights.identify(kid) == base_weights.identify(folder) is not None


def test_data_without_trainable_tokens_is_refused(small_workspace: Workspace) -> None:
    plan = small_workspace.plan(max_length=10)
    with work_here():
        done = run_here("train", plan, "--name", "nothing", "--watch")
    assert done.returncode == 3, done.stdout
    assert "has trainable tokens" in done.stdout
    assert as_json_here("status", "nothing")["end_reason"] == "refused"


def test_every_row_is_trained_on_or_reported(small_workspace: Workspace) -> None:
    plan = small_workspace.plan(data=TOOL_USE, rows=60, max_length=36, evaluation_steps=50)
    folder = small_workspace.train_here(plan, "cut")
    assert observe(folder).end_reason == "finished"
    data = {e["part"]: e for e in events(folder, "data")}
    assert 0 < data["train"]["kept"] < data["train"]["rows"]
    assert len(data["train"]["lost"]) == data["train"]["rows"] - data["train"]["kept"]
    assert any(e["code"] == "rows_without_loss" for e in events(folder, "finding"))
    assert as_json_here("status", "cut")["total_steps"] == data["train"]["kept"]
    trained = json.loads(folder.result.read_text())["training"]
    assert trained["left_out"]["train"] == data["train"]["lost"]
    assert trained["rows"]["train_used"] == data["train"]["kept"]
    assert f"{data['train']['kept']} of {data['train']['rows']} rows trained on" in ok_here(
        "status", "cut"
    )


def test_general_rows_are_mixed_into_training_only(
    small_workspace: Workspace,
) -> None:
    plan = small_workspace.plan(rows=80, finish=True, batch_size=4, save_steps=50)
    body = json.loads(plan.read_text())
    body["data"]["mix"] = {"share": 0.1}
    plan.write_text(json.dumps(body))
    folder = small_workspace.train_here(plan, "general", stop_after=2)
    assert observe(folder).end_reason == "stopped"
    with work_here():
        ok_here("resume", "general")
    assert observe(folder).end_reason == "finished"
    data = {e["part"]: e for e in events(folder, "data")}
    assert (data["train"]["kept"], data["train"]["mixed"]) == (64, 7)
    result = json.loads(folder.result.read_text())
    assert result["training"]["rows"]["mix_used"] == 7
    assert as_json_here("status", "general")["total_steps"] == 18
    (*_, training) = (e for e in events(folder, "phase") if e["phase"] == "training")
    assert training["mixes_rows"]
    assert read_target(folder).n == 8


def test_resume_refuses_changed_data(small_workspace: Workspace) -> None:
    plan = small_workspace.plan(epochs=LONG, save_steps=50)
    folder = small_workspace.train_here(plan, "mixed", stop_after=2)
    rows = small_workspace.root / "plan.jsonl"
    old = rows.read_text()
    rows.write_text(old.replace("high", "low", 1))
    refused = run_here("resume", "mixed")
    assert refused.returncode == 1 and ": train" in refused.stderr
    assert folder.newest_attempt() == 1
    rows.write_text(old)
    with work_here(stop_after=1):
        ok_here("resume", "mixed")


def test_save_and_evaluate_requests_are_executed(small_workspace: Workspace) -> None:
    from ftwizard.jobs import requests

    plan = small_workspace.plan(rows=40, epochs=2 * LONG, save_steps=5000, evaluation_steps=5000)
    folder = small_workspace.train(plan, "asked")
    until_step(folder, 2, 60)
    requests.send(folder, "evaluate", 1)
    until(folder, lambda _: bool(events(folder, "eval")), 30)
    until(folder, lambda _: bool(events(folder, "checkpoint")), 30)
    saved = len(events(folder, "checkpoint"))
    requests.send(folder, "save", 1)
    until(folder, lambda _: len(events(folder, "checkpoint")) > saved, 30)
    assert not list(folder.requests.iterdir())
    ok("stop", "asked")
    until_ended(folder, 60)
    names = [event.get("phase", event["kind"]) for event in events(folder)]
    before = [name for name, after in pairwise(names) if after == "checkpoint"]
    assert len(before) >= 3 and set(before) == {"saving"}, "a slow save is not a step that stands"


def test_time_budget_stops_the_run_with_a_checkpoint(small_workspace: Workspace) -> None:
    plan = small_workspace.plan(rows=100, epochs=LONG)
    body = json.loads(plan.read_text())
    plan.write_text(json.dumps(body | {"budget": {"hours": 2 / 3600}}))
    folder = small_workspace.train_here(plan, "short")
    status = observe(folder)
    assert status.end_reason == "stopped"
    assert "budget.hours" in status.message
    assert checkpoints.all_complete(folder.checkpoints)[-1].step == max(losses(folder))


def test_tensorboard_metrics_are_written(small_workspace: Workspace) -> None:
    plan = small_workspace.plan()
    body = json.loads(plan.read_text())
    plan.write_text(json.dumps(body | {"report_to": ["tensorboard"]}))
    folder = small_workspace.train_here(plan, "board")
    assert observe(folder).end_reason == "finished"
    (written,) = folder.path.rglob("events.out.tfevents.*")
    assert b"train/loss" in written.read_bytes()


def test_secrets_do_not_reach_the_training_process(
    small_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = "canary-5f1c2b7e"
    for name in (
        "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "MY_PASSWORD", "SSHPASS", "GHTOKEN",
        "SLACK_WEBHOOK_URL", "npm_config__auth", "STRIPE_KEY",
    ):  # fmt: skip
        monkeypatch.setenv(name, canary)
    monkeypatch.setenv("REDIS_URL", f"redis://me:{canary}@host")
    monkeypatch.setenv("BYPASS", "harmless-5f1c2b7e")
    folder = small_workspace.train(small_workspace.plan(epochs=LONG, save_steps=50), "quiet")
    until_step(folder, 1, 60)
    for process in (command_pid(folder), keeper_pid(folder)):
        environment = Path(f"/proc/{process}/environ").read_bytes()
        assert canary.encode() not in environment and b"BYPASS=harmless-5f1c2b7e" in environment
    assert "was stopped" in ok("stop", "quiet")
    for path in folder.path.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
        if path.is_file():
            assert canary.encode() not in path.read_bytes(), path
