"""Preference training: from pairs, from labeled answers, and from an earlier run's adapter."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import observe
from ftwizard.runs import checkpoints, describe_evaluation, evaluation_files
from tests.e2e.cli import as_json_here, ok_here, run_here
from tests.e2e.workspace import Workspace, losses
from tests.helpers.jobs import command_pid, events, until_ended, until_step
from tests.helpers.pairs import read_pairs, write_labeled, write_pairs, write_rows
from tests.helpers.work_here import work_here

pytestmark = pytest.mark.slow
FAST: dict[str, Any] = {"batch_size": 4, "epochs": 2, "learning_rate": 2e-3}


def evaluations(folder: JobFolder, name: str) -> list[float]:
    return [event[f"eval_{name}"] for event in events(folder, "eval")]


def codes(folder: JobFolder) -> list[str]:
    return [event["code"] for event in events(folder, "finding")]


def begun(folder: JobFolder) -> dict[str, Any]:
    """Return the event of the first step's beginning."""
    return next(
        dict(event) for event in events(folder, "phase") if event.get("phase") == "training"
    )


def test_dpo_learns_to_prefer_the_chosen_answers(small_workspace: Workspace) -> None:
    rows = read_pairs(40)
    # Equal up to the max length: left out, and reported.
    rows[5]["chosen"] = [{"role": "assistant", "content": "word " * 200 + "yes"}]
    rows[5]["rejected"] = [{"role": "assistant", "content": "word " * 200 + "no"}]
    data = write_rows(small_workspace.root / "pairs-in.jsonl", rows)
    plan = small_workspace.plan(data=data, rows=40, finish=True, objective="dpo", **FAST)
    folder = small_workspace.train_here(plan, "dpo")
    assert observe(folder).end_reason == "finished"
    assert begun(folder)["objective"] == "dpo"
    first, *_, last = events(folder, "log")
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-4), "model and reference are equal"
    assert first["rewards_margins"] == pytest.approx(0, abs=1e-3)
    assert last["loss"] < 0.5 and last["rewards_margins"] > 0.5
    assert {"rewards_chosen", "rewards_rejected", "logps_chosen", "logps_rejected"} <= set(last)
    ranked = events(folder, "rows")[-1]["rows"]
    mean = sum(row["loss"] for row in ranked) / len(ranked)
    assert mean == pytest.approx(evaluations(folder, "loss")[-1], rel=1e-3), "of each pair"
    assert ranked[0]["tokens"] > 10 and ranked[0]["answer"].startswith("{")
    assert codes(folder).count("pairs_by_length") == 1, "all rejected answers are longer"
    assert evaluations(folder, "loss")[-1] < evaluations(folder, "loss")[0] < math.log(2)
    assert evaluations(folder, "rewards_accuracies")[-1] == 1.0
    counts = {event["part"]: event for event in events(folder, "data")}
    equal = [part for part, event in counts.items() if event["equal_pairs"] == [6]]
    assert len(equal) == 1 and codes(folder).count("equal_pairs") == 1
    result = json.loads(folder.result.read_text())
    used = result["training"]["rows"]
    assert sum(used[f"{part}_used"] for part in ("train", "validation", "test")) == 39
    status = ok_here("status", "dpo").lower()
    assert "prefers the chosen answer" in status
    assert "the chosen answer is the more probable one in" in status
    assert (folder.merged / "model.safetensors").exists()
    evaluation = evaluation_files.read_evaluation(folder)
    assert evaluation and evaluation.target and evaluation.shortcut
    target = evaluation.sets["target"]
    assert target.n in (3, 4) and target.arms["tuned"].metric == "preferred"
    assert target.arms["tuned"].score == evaluation.target.evidence[0].tuned == 1.0
    for pair in evaluation.samples:
        assert pair.rejected and pair.tuned == pair.expected != pair.rejected
    assert evaluation.target.evidence[0].measure == "preferred"
    assert evaluation.shortcut.part == "training", "four test pairs are too few to tell"
    assert evaluation.verdict != "ship" and "by_length" in {r.name for r in evaluation.reasons}
    card = (folder.path / "card.md").read_text()
    assert "pairs whose chosen answer is the more probable one" in card


def test_kto_tells_wanted_answers_from_unwanted_ones(small_workspace: Workspace) -> None:
    data = write_labeled(small_workspace.root / "labeled-in.jsonl")
    plan = small_workspace.plan(data=data, rows=40, finish=True, objective="kto", **FAST)
    folder = small_workspace.train_here(plan, "kto")
    assert observe(folder).end_reason == "finished"
    first, *_ = events(folder, "log")
    assert first["loss"] == pytest.approx(0.5, abs=1e-4) and first["kl"] == 0
    assert evaluations(folder, "loss")[-1] < 0.4
    assert evaluations(folder, "rewards_margins")[-1] > 0.5
    assert evaluations(folder, "kl")[-1] >= 0
    evaluation = evaluation_files.read_evaluation(folder)
    assert evaluation
    target = evaluation.sets["target"]
    assert target.arms["tuned"].metric == "ranked" and target.arms["base"].score == 0.5
    answers = [json.loads(line) for line in (folder.evaluations / "tuned.jsonl").open()]
    assert sum(bool(answer.get("logps")) for answer in answers) > target.n, "and of trained rows"
    if target.arms["tuned"].n:  # both labels are among the test rows
        assert evaluation.target and evaluation.target.evidence[0].tuned > 0.5
        assert "a wanted answer gained more probability" in ok_here("status", "kto").lower()


def test_killed_run_resumes_with_the_same_steps(small_workspace: Workspace) -> None:
    data = write_pairs(small_workspace.root / "pairs-in.jsonl")
    settings = {**FAST, "batch_size": 2, "epochs": 3, "save_steps": 5}
    plan = small_workspace.plan(data=data, rows=40, objective="dpo", **settings)
    straight = small_workspace.train_here(plan, "straight")
    killed = small_workspace.train(plan, "killed")
    until_step(killed, 12, 120)
    os.kill(command_pid(killed), signal.SIGKILL)
    assert until_ended(killed, 60).end_reason not in ("finished", None)
    with work_here():
        ok_here("resume", "killed")
    assert observe(killed).end_reason == "finished"
    assert losses(killed) == losses(straight)


def test_dpo_continues_an_adapter_and_takes_it_as_reference(small_workspace: Workspace) -> None:
    supervised = small_workspace.plan(name="sft", epochs=1, batch_size=4, learning_rate=2e-3)
    small_workspace.train_here(supervised, "parent")
    data = write_pairs(small_workspace.root / "pairs.jsonl")
    with work_here():
        ok_here(
            "branch", "parent", "--name", "child", "--set", "recipe.objective=dpo",
            "--set", f"data.files.train={data}", "--set", "learning_rate=1e-3",
            "--set", "finish.compare=true", "--set", "data.split.test=0.2",
        )  # fmt: skip
    child = small_workspace.folder("child")
    assert observe(child).end_reason == "finished"
    first = events(child, "log")[0]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-4), "the reference is the parent"
    # The parent was trained on these tickets, and their answers are now likelier than at its start.
    assert child.read_job().parent and (child.origin / "adapter_model.safetensors").exists()
    saved = checkpoints.all_complete(child.checkpoints)[-1]
    names = {path.name for path in (child.checkpoints / saved.name).iterdir()}
    assert "ref" not in names, "the reference is made again from the initial weights"
    evaluation = evaluation_files.read_evaluation(child)
    assert evaluation and evaluation.parent == "parent" and evaluation.over_parent
    target = evaluation.sets["target"]
    assert list(target.arms) == ["base", "parent", "tuned"] and target.over_parent
    # The parent's own answers: its weights are not those of its base.
    logps = {
        arm: [json.loads(line)["logps"] for line in (child.evaluations / f"{arm}.jsonl").open()
              if '"logps"' in line]
        for arm in ("base", "parent", "tuned")
    }  # fmt: skip
    assert logps["base"][0] != logps["parent"][0] != logps["tuned"][0]
    reasons = describe_evaluation.describe_reasons(evaluation, len(evaluation.reasons))
    assert any("its parent parent" in reason for reason in reasons)
    shared = child.read_job().inputs["trained_before"]
    assert codes(child).count("test_trained_before") == (1 if shared else 0)


def test_full_dpo_asks_its_reference_once(small_workspace: Workspace) -> None:
    data = write_pairs(small_workspace.root / "pairs-in.jsonl", 24)
    settings = {**FAST, "epochs": 1, "learning_rate": 1e-3}
    plan = small_workspace.plan(data=data, objective="dpo", method="full", **settings)
    folder = small_workspace.train_here(plan, "full")
    assert observe(folder).end_reason == "finished"
    first, *_, last = events(folder, "log")
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert last["loss"] < 0.6
    asked = [event.get("what") for event in events(folder, "phase")]
    assert "log-probabilities of the reference" in asked


@pytest.mark.parametrize(
    ("objective", "rows", "named"),
    [
        ("dpo", "chat", "Set recipe.objective to sft"),
        ("sft", "pairs", "Set recipe.objective to dpo"),
        ("kto", "pairs", "Set recipe.objective to dpo"),
        ("sft", "labeled", "Set recipe.objective to kto"),
        ("kto", "wanted", "both"),
    ],
)
def test_rows_of_another_objective_are_refused(
    small_workspace: Workspace, objective: str, rows: str, named: str
) -> None:
    path = small_workspace.root / "in.jsonl"
    if rows == "pairs":
        write_pairs(path, 24)
    elif rows in ("labeled", "wanted"):
        write_labeled(path, 24)
    if rows == "wanted":
        path.write_text(path.read_text().replace("false", "true"))
    data: Path | None = None if rows == "chat" else path
    plan = small_workspace.plan(data=data, objective=objective, **FAST)
    refused = run_here("train", plan, "--name", "refused")
    assert refused.returncode and named in refused.stderr, refused.stderr
    assert not small_workspace.folder("refused").path.exists()


def test_mask_check_and_preview_count_the_rows_that_are_trained(small_workspace: Workspace) -> None:
    data = write_pairs(small_workspace.root / "pairs-in.jsonl", 24)
    plan = small_workspace.plan(data=data, objective="dpo", **FAST)
    rows = plan.with_suffix(".jsonl")
    assert as_json_here("check", rows)["target"] == "trl-dpo"
    shown = as_json_here("mask", rows, "--model", small_workspace.model, "--max-length", 160)
    assert (shown["rows"], shown["kept"]) == (24, 24)
    estimate = as_json_here("estimate", plan)
    assert estimate["recipe"]["objective"] == "dpo"
    folder = small_workspace.train_here(plan, "counted")
    last = events(folder, "log")[-1]
    assert (last["step"], last["tokens"]) == (estimate["steps"], estimate["tokens"])
