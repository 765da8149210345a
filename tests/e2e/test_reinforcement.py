"""Reinforcement with rewards on the packaged model, from the dry run to the evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftwizard.jobs.status import observe
from ftwizard.runs import evaluation_files
from tests.e2e.cli import as_json, ok, ok_here, run
from tests.e2e.workspace import Workspace
from tests.helpers.jobs import events
from tests.helpers.work_here import work_here

pytestmark = pytest.mark.slow

OWN = """\
def brief(completions, **kwargs):
    return [1 / (1 + len(c[0]["content"].split())) for c in completions]
"""
COLORS = ("grass", "the sky", "a tomato", "snow", "coal", "a lemon", "a frog", "the sun", "blood",
          "a carrot", "milk", "a raven", "the sea", "a leaf", "fire", "a pumpkin")  # fmt: skip
ANSWERS = ("green", "blue", "red", "white", "black", "yellow", "green", "yellow", "red", "orange",
           "white", "black", "blue", "green", "red", "orange")  # fmt: skip


def write_plan(workspace: Workspace, name: str = "plan") -> Path:
    rows = [
        {"prompt": f"What color is {thing}? Answer with one word.", "completion": color}
        for thing, color in zip(COLORS, ANSWERS, strict=True)
    ]
    (workspace.root / "colors.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (workspace.root / "own.py").write_text(OWN)
    body = {
        "data": {"files": {"train": "colors.jsonl"}, "split": {"validation": 0.15, "test": 0.15}},
        "model": {"name": str(workspace.model)},
        "recipe": {
            "objective": "grpo", "batch_size": 4, "gradient_accumulation": 1, "rank": 8,
            "learning_rate": 1e-4, "max_steps": 6, "evaluation_steps": 3, "max_length": 64,
            "grpo": {
                "num_generations": 2, "max_completion_length": 8,
                "rewards": [{"function": "own.py:brief"},
                            {"function": "exact_answer", "options": {"ignore_case": True}}],
            },
        },
        "samples": {"count": 1},
        "finish": {"merge": False, "compare": True},
        "evaluate": {"general": False, "safety": False, "shots": 0},
    }  # fmt: skip
    path = workspace.root / f"{name}.yaml"
    path.write_text(json.dumps(body))
    return path


def test_a_run_with_rewards_stops_resumes_and_is_evaluated_by_them(workspace: Workspace) -> None:
    plan = write_plan(workspace)
    report = as_json("rewards", plan)
    assert report["verdict"] == "ok"
    assert [score["name"] for score in report["rewards"]] == ["brief", "exact_answer"]

    folder = workspace.train_here(plan, "colors", stop_after=2)
    assert observe(folder).end_reason == "stopped"
    with work_here():
        ok_here("resume", "colors")
    assert observe(folder).end_reason in ("finished", "early_stopped")
    logs = events(folder, "log")
    assert [event["step"] for event in logs] == list(range(1, len(logs) + 1))
    assert {"reward", "rewards_brief_mean", "rewards_exact_answer_mean"} <= logs[-1].keys()

    status = as_json("status", "colors")
    assert status["best_eval_reward"] >= status["eval_reward"] > 0
    assert "validation reward" in ok("status", "colors")
    evaluation = evaluation_files.read_evaluation(folder)
    assert evaluation is not None
    target = evaluation.sets["target"]
    assert target.arms["base"].n == target.arms["tuned"].n > 0
    assert 0 < target.arms["tuned"].score <= 1
    answers = [json.loads(line) for line in (folder.evaluations / "tuned.jsonl").open()]
    assert all("value" in answer["score"] for answer in answers)
    ok("card", "colors")
    card = (folder.path / "card.md").read_text()
    assert "GRPO with the rewards `brief (own.py)` and `exact_answer`" in card
    assert "mean reward" in card
    out = workspace.root / "script"
    ejected = as_json("eject", "colors", "--out", out)
    assert {"own.py", "train.py", "reward_functions/answer_scores.py"} <= ejected["files"].keys()


def test_a_start_is_refused_where_a_reward_fails(workspace: Workspace) -> None:
    plan = write_plan(workspace)
    (workspace.root / "own.py").write_text("def brief(completions, **kwargs):\n    return []\n")
    result = run("train", plan, "--name", "refused")
    assert result.returncode == 1
    assert "brief (own.py) failed: it returned 0 rewards for 10 completions" in result.stderr
    assert not workspace.folder("refused").path.exists()
