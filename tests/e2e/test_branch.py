"""Branches from the best checkpoint of an overfitted run."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import observe
from ftwizard.plan import plan_file
from ftwizard.runs import checkpoints
from tests.e2e.cli import as_json_here, ok, ok_here, run, run_here
from tests.e2e.workspace import Workspace
from tests.helpers.jobs import command_pid, events, until, until_ended
from tests.helpers.models import make_tiny
from tests.helpers.work_here import work_here

pytestmark = pytest.mark.slow
METHODS = {
    "lora": {"method": "lora", "learning_rate": 0.02, "rank": 16},
    "full": {"method": "full", "learning_rate": 0.01},
}


@pytest.fixture
def small(tmp_path: Path, home: Path) -> Workspace:
    """Return a workspace whose tiny model overfits: training and validation answers differ."""
    import torch

    chance = random.Random(3)
    for name, letters, count in (("rows", "aaaaaaaaab", 40), ("other", "aabb", 8)):
        rows = [
            {"prompt": f"{number}: ", "completion": "".join(chance.choices(letters, k=12))}
            for number in range(count)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    torch.manual_seed(1)
    return Workspace(tmp_path, make_tiny(tmp_path / "model"), home)


def teach(model: Path) -> None:
    """Train the tiny model to answer in two letters, since adapters leave the output layer alone."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, item = (
        kind.from_pretrained(model) for kind in (AutoTokenizer, AutoModelForCausalLM)
    )
    chance = random.Random(5)
    optimizer = torch.optim.Adam(item.parameters(), 0.01)
    for _ in range(40):
        texts = [f"{n}: " + "".join(chance.choices("ab", k=12)) for n in range(16)]
        rows = torch.tensor([tokenizer(text[-15:])["input_ids"] for text in texts])
        item(rows, labels=rows).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    item.save_pretrained(model)


def overfitted(workspace: Workspace, method: str) -> JobFolder:
    """Return a run that was stopped after its validation loss rose."""
    settings: dict[str, Any] = {
        **METHODS[method], "epochs": 90, "batch_size": 4, "evaluation_steps": 5, "patience": 999,
        "save_steps": 500, "dropout": 0.0, "schedule": "constant", "warmup": 0,
    }  # fmt: skip
    plan = workspace.plan(data=workspace.root / "rows.jsonl", rows=40, **settings)
    body = json.loads(plan.read_text())
    body["data"]["files"]["validation"] = "other.jsonl"
    plan.write_text(json.dumps(body))
    folder = workspace.train(plan, "heart", "--allow", "many-epochs")
    until(folder, lambda _: has_risen(folder), 120)
    assert "was stopped" in ok("stop", "heart")
    return folder


def has_risen(folder: JobFolder) -> bool:
    result = [e["eval_loss"] for e in events(folder, "eval")]
    return len(result) > 2 and result[-1] > 1.1 * min(result)


def read_weights(folder: JobFolder) -> dict[str, bytes]:
    paths = sorted(folder.path.rglob("*.safetensors"))
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in paths}


def best(folder: JobFolder) -> tuple[int, float]:
    evaluations = {e["step"]: e["eval_loss"] for e in events(folder, "eval")}
    step = min(evaluations, key=lambda item: (evaluations[item], item))
    return step, evaluations[step]


def test_branch_starts_at_best_step_with_half_learning_rate(small: Workspace) -> None:
    teach(small.model)
    parent = overfitted(small, "lora")
    step, lowest = best(parent)
    text = ok_here("status", "heart")
    assert f"The best weights (step {step}) are in" in text.replace("\n", " "), text
    weights = [(parent.path / where / "adapter_model.safetensors").read_bytes()
               for where in ("adapter", f"checkpoints/checkpoint-{step}")]  # fmt: skip
    assert weights[0] == weights[1], "stopping keeps the best weights"

    short = ("--set", "epochs=3")  # enough for this test
    with work_here():
        points = ok_here("branch", "heart", "--rate-times", "0.5", *short, "--name", "calm")
    assert f"a child of heart, from step {step}: epochs 90 → 3, learning_rate 0.02 → 0.01" in points
    child = small.folder("calm")
    assert observe(child).end_reason == "finished"
    logs = events(child, "log")
    assert [e["step"] for e in logs[:2]] == [1, 2]
    assert {e["learning_rate"] for e in logs} == {0.01}
    # A learning rate this small changes nothing: the evaluation measures the initial weights.
    with work_here():
        ok_here("branch", "heart", "--rate-times", "1e-9", *short, "--name", "still")
    still = small.folder("still")
    assert observe(still).end_reason == "finished"
    assert events(still, "eval")[0]["eval_loss"] == pytest.approx(lowest, rel=1e-4)
    status = as_json_here("status", "calm")
    assert status["parent"] == {
        "id": "heart", "step": step,
        "changes": {"recipe.epochs": [90, 3], "recipe.learning_rate": [0.02, 0.01]},
    }  # fmt: skip
    assert "from step" in ok_here("status", "calm")
    assert "child of" in ok_here("runs")
    assert lowest == json.loads(parent.trained.read_text())["eval_loss"]


def test_full_branch_validates_options_and_outlives_its_parent(small: Workspace) -> None:
    parent = overfitted(small, "full")
    step, lowest = best(parent)
    kept = [item.step for item in checkpoints.all_complete(parent.checkpoints)]
    assert f"checkpoint-{step}" in ok_here("status", "heart")
    # A learning rate this small changes nothing: the evaluation measures the initial weights.
    still = ("--rate-times", "1e-9", "--set", "epochs=2", "--name", "still")
    with work_here():
        ok_here("branch", "heart", *still, "--from", str(step))
    child = small.folder("still")
    assert observe(child).end_reason == "finished"
    assert events(child, "eval")[0]["eval_loss"] == pytest.approx(lowest, rel=1e-4)

    for arguments, says in (
        (("--rate-times", "1"), "Nothing would change"),
        ((), "Nothing would change"),
        (("--rate-times", "0"), "must be above 0"),
        (("--rate-times", "-2"), "must be above 0"),
        (("--rate-times", "nan"), "must be above 0"),
        (("--rate-times", "1000"), "recipe.learning_rate is 10"),
        (("--rate-times", "0.5", "--from", "7"), f"Choose from {', '.join(map(str, kept))}"),
        (("--rate-times", "0.5", "--name", "still"), "A run named still already exists"),
        (("--drop", "1,x"), "1,x is not a list of lines"),
        (("--drop", "41"), "has no row at line 41"),
        (("--drop", "1", "--rate-times", "1000"), "recipe.learning_rate is 10"),
    ):
        refused = run_here("branch", "heart", *arguments)
        assert refused.returncode in (1, 2) and says in refused.stderr, (arguments, refused.stderr)
    rows = (small.root / "plan.jsonl").read_text()
    (small.root / "plan.jsonl").write_text(rows.replace("aaa", "aba", 1))
    refused = run_here("branch", "heart", "--rate-times", "0.5")
    assert refused.returncode == 1 and ": train" in refused.stderr
    assert "could not be compared" in refused.stderr
    refused = run_here("branch", "heart", "--drop", "1")
    assert refused.returncode == 1 and "no longer those that were evaluated" in refused.stderr
    (small.root / "plan.jsonl").write_text(rows)
    assert not list(small.root.glob("*-train.jsonl")), "no run, no file"

    before = as_json_here("status", "still") | {"age_s": None}
    weights = read_weights(child)
    assert weights
    assert "Deleted" in ok("remove", "heart", "--yes") and not parent.path.exists()
    assert [item["id"] for item in as_json_here("runs")["runs"]] == ["still"]
    after = as_json_here("status", "still") | {"age_s": None}
    assert after == before and before["parent"]["id"] == "heart"
    assert read_weights(child) == weights
    with work_here():
        ok_here("branch", "still", "--drop", "3,1", "--from", "start", "--name", "fewer")
    lines = rows.splitlines()
    assert (small.root / "fewer-train.jsonl").read_text().splitlines() == [lines[1], *lines[3:]]
    assert observe(small.folder("fewer")).end_reason == "finished"
    doubled = ("--accumulation-times", "2", "--from", "start", "--name", "twice")
    with work_here():
        again = ok_here("branch", "still", *doubled)
    assert "from the start: gradient_accumulation 1 → 2" in again
    assert observe(small.folder("twice")).end_reason == "finished"
    assert plan_file.load(small.folder("twice").plan, begun=True).recipe.gradient_accumulation == 2
    assert events(small.folder("twice"), "eval")[0]["eval_loss"] == pytest.approx(lowest, rel=1e-4)


def test_branch_refuses_running_parent_or_missing_checkpoint(small: Workspace) -> None:
    plan = small.plan(data=small.root / "rows.jsonl", rows=40, save_steps=500)
    folder = small.train(plan, "busy")
    os.kill(command_pid(folder), signal.SIGSTOP)  # or it may save when it is killed
    refused = run("branch", "busy", "--rate-times", "0.5")
    assert refused.returncode == 1 and "ftwizard stop busy" in refused.stderr
    ok("stop", "busy", "--kill")
    until_ended(folder)
    refused = run("branch", "busy", "--rate-times", "0.5", "--from", "best")
    assert refused.returncode == 1
    assert "no complete checkpoint" in refused.stderr and "--from start" in refused.stderr
    started = ok("branch", "busy", "--rate-times", "0.5", "--name", "again")
    assert "from the start: learning_rate" in started
    gone = run("branch", "busi", "--rate-times", "0.5")
    assert gone.returncode == 1 and "Did you mean busy" in gone.stderr


def test_dollar_budget_stops_a_run_and_keeps_weights(small: Workspace) -> None:
    plan = small.plan(data=small.root / "rows.jsonl", rows=40, epochs=90, evaluation_steps=500)
    body = json.loads(plan.read_text())
    body["budget"] = {"usd": 0.5}
    plan.write_text(json.dumps(body))
    options = ("--allow", "many-epochs", "--name", "dear")
    # Loading the libraries alone costs half the budget, so the run exceeds it on any machine.
    refused = run("train", plan, *options)
    assert refused.returncode == 1 and "--price machine=USD" in refused.stderr
    ok("train", plan, *options, "--price", "machine=180")
    folder = small.folder("dear")
    assert until_ended(folder, 120).end_reason == "stopped"
    text = ok("status", "dear").replace("\n", " ")
    assert (
        "budget.usd is used up: $" in text and "of $0.50 at $180.00" in text and "are in" in text
    ), text
    again = run("resume", "dear")
    assert again.returncode == 1 and "has spent its budget: $" in again.stderr
    assert folder.newest_attempt() == 1
