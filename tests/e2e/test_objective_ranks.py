"""Preferences and rewards on the CPU, also in two processes: losses of one, kills, requests, failures."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from ftwizard.jobs import requests
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import observe
from ftwizard.runs import checkpoints
from tests.e2e.cli import as_json, ok, ok_here
from tests.e2e.test_ranks import find, finish, in_ranks, read_logs, until_gone
from tests.e2e.workspace import Workspace, losses
from tests.helpers.jobs import command_pid, events, until, until_ended, until_step
from tests.helpers.pairs import write_pairs, write_rows
from tests.helpers.work_here import work_here

pytestmark = pytest.mark.slow


def require_equal(one: JobFolder, two: JobFolder, kind: str, names: tuple[str, ...]) -> None:
    """Check that events of two runs have the same values, by step."""
    expected = {event["step"]: event for event in events(one, kind)}
    measured = {event["step"]: event for event in events(two, kind)}
    assert expected.keys() == measured.keys() and len(expected) > 1
    for step, event in expected.items():
        present = [name for name in names if name in event or step]
        values = [measured[step][name] for name in present]
        assert values == pytest.approx([event[name] for name in present], rel=2e-4, abs=1e-5), step


def score_text(path: Path) -> Path:
    """Let a plan measure general text at evaluations; return its path."""
    body = json.loads(path.read_text())
    body["evaluate"]["general"] = True
    path.write_text(json.dumps(body))
    return path


def test_dpo_in_two_processes_survives_a_kill_with_the_losses_of_one(
    small_workspace: Workspace,
) -> None:
    """An odd number of pairs: the last batches of an epoch and of an evaluation are not full."""
    data = write_pairs(small_workspace.root / "pairs-in.jsonl")
    recipe: dict[str, Any] = {
        "rows": 37, "objective": "dpo", "learning_rate": 2e-3, "save_steps": 2, "precision": "fp32",
    }  # fmt: skip
    single = score_text(small_workspace.plan("one", data=data, batch_size=4, **recipe))
    two = score_text(in_ranks(small_workspace.plan("two", data=data, batch_size=2, **recipe)))
    alone = small_workspace.train_here(single, "one")
    folder = small_workspace.train(two, "two")
    until_step(folder, 3, 200)
    find(folder, "_rank")[1].send_signal(signal.SIGKILL)
    status = until_ended(folder, 60)
    assert status.end_reason == "killed", (status, read_logs(folder))
    assert status.message == f"Rank 1 on {os.uname().nodename} was killed by SIGKILL."
    until_gone(folder)
    ok("resume", "two")
    finish(folder)

    assert losses(folder)[1] == pytest.approx(math.log(2), abs=1e-4), "the reference is the base"
    assert losses(folder) == pytest.approx(losses(alone), rel=2e-4)
    names = ("rewards_margins", "rewards_accuracies", "rewards_chosen", "logps_rejected")
    require_equal(alone, folder, "log", ("loss", "tokens", *names))
    # The event before the first step has the score on general text alone.
    kinds = ("eval_loss", "eval_rows", *(f"eval_{name}" for name in names), "eval_general_logp")
    require_equal(alone, folder, "eval", kinds)
    ranked = [
        {row["row"]: row["loss"] for row in events(run, "rows")[-1]["rows"]}
        for run in (alone, folder)
    ]
    assert ranked[1] == pytest.approx(ranked[0], rel=1e-3), "of each pair"
    report = as_json("status", "two")
    assert (report["ranks"]["processes"], report["ranks"]["parallel"]) == (2, "ddp")
    assert report["resumed"]["adapter"] and report["resumed"]["not_restored"] == {}


OWN = """\
import os

def length(prompts, completions, **kwargs):
    try:
        os.unlink({trap!r})
    except FileNotFoundError:
        return [len(p[-1]["content"]) / 100 for p in prompts]
    raise ValueError("out of luck")

def brief(completions, **kwargs):
    return [1 / (1 + len(c[0]["content"])) for c in completions]
"""


def write_grpo_plan(workspace: Workspace, name: str, trap: Path, **recipe: Any) -> Path:
    """Write a plan with rewards; in two processes, each has half a group of answers in a step."""
    prompts = [f"What color is thing {'x' * n}? Answer with one word." for n in range(27)]
    rows = [{"prompt": prompt, "completion": "red"} for prompt in prompts]
    data = write_rows(workspace.root / "prompts.jsonl", rows[:24])
    write_rows(workspace.root / "val.jsonl", rows[24:])
    (workspace.root / "own.py").write_text(OWN.format(trap=str(trap)))
    settings: dict[str, Any] = {
        "objective": "grpo", "batch_size": 2, "rank": 4, "learning_rate": 1e-4, "dropout": 0.0,
        "gradient_accumulation": 1, "max_steps": 400, "evaluation_steps": 2, "save_steps": 2,
        "max_length": 64, **recipe,
    }  # fmt: skip
    settings["grpo"] = {
        "num_generations": 4, "max_completion_length": 4,
        "rewards": [{"function": "own.py:brief"}, {"function": "own.py:length"}],
        **recipe.get("grpo", {}),
    }  # fmt: skip
    path = workspace.plan(name, data=data, **settings)
    body = json.loads(path.read_text())
    body["data"]["files"]["validation"] = "val.jsonl"
    body["data"]["split"] = {"test": 0}
    body["allow"] = ["many-epochs", "weak-grader"]
    path.write_text(json.dumps(body))
    return path


def test_rewards_in_two_processes_end_together(small_workspace: Workspace) -> None:
    """One process's reward function fails once; both save the step before it, and end."""
    trap = small_workspace.root / "trap"
    folder = small_workspace.train(
        score_text(in_ranks(write_grpo_plan(small_workspace, "grpo", trap))), "rewards"
    )
    until_step(folder, 3, 200)
    trap.touch()
    status = until_ended(folder, 60)
    assert status.end_reason == "refused", (status, read_logs(folder))
    assert "length (own.py)" in status.message and "out of luck" in status.message
    until_gone(folder)
    logs = events(folder, "log")
    assert [event["step"] for event in logs] == list(range(1, len(logs) + 1))
    assert events(folder, "checkpoint")[-1]["step"] == len(logs)
    # Of one group of all processes: nothing else has four answers.
    assert {event["frac_reward_zero_std"] for event in logs} <= {0.0, 1.0}
    lengths = [(len("What color is thing ? Answer with one word.") + n) / 100 for n in (24, 25, 26)]
    # Two groups are asked at once; the last one is alone, without a prompt that was asked before.
    possible = [sum(lengths) / 4 + last / 4 for last in lengths]
    assert events(folder, "eval")
    first, *evaluations = events(folder, "eval")
    scores = {event["step"]: event["eval_general_logp"] for event in (first, *evaluations)}
    assert first["step"] == 0 and len(scores) > 1 and all(score < 0 for score in scores.values())
    for event in evaluations:
        value = event["eval_rewards_length_mean"]
        assert any(value == pytest.approx(each, rel=1e-5) for each in possible), (value, possible)
    report = as_json("status", "rewards")
    assert report["ranks"]["processes"] == 2
    assert report["figures"]["eval_general_logp"] == scores[max(scores)]
    assert "general text" in ok("status", "rewards")


def read_rewards(folder: JobFolder) -> dict[int, list[float]]:
    """Return what was logged of each step by the last attempt that trained it."""
    names = ("loss", "reward", "rewards_length_mean", "completions_mean_length")
    return {event["step"]: [event[name] for name in names] for event in events(folder, "log")}


def test_rewards_repeat_the_steps_that_a_kill_lost(small_workspace: Workspace) -> None:
    """The random state is saved with the weights, so the answers are those of a run without a kill."""
    settings = {"batch_size": 4, "max_steps": 7, "evaluation_steps": 4}
    plan = write_grpo_plan(small_workspace, "grpo", small_workspace.root / "trap", **settings)
    straight = small_workspace.train_here(plan, "straight")
    folder = small_workspace.train(plan, "killed")
    until_step(folder, 3, 200)
    os.kill(command_pid(folder), signal.SIGKILL)
    assert until_ended(folder, 60).end_reason == "killed"
    saved = checkpoints.all_complete(folder.checkpoints)[-1].step
    with work_here():
        ok_here("resume", "killed")
    assert observe(folder).end_reason == "finished"
    first = next(event for event in events(folder, "log") if event["attempt"] == 2)
    assert first["step"] == saved + 1
    assert read_rewards(folder) == read_rewards(straight)
    resumed = as_json("status", "killed")["resumed"]
    assert (resumed["step"], resumed["not_restored"]) == (saved, {})
    assert resumed["adapter"] and "optimizer" in resumed["restored"]


def require_saved(folder: JobFolder, step: int) -> None:
    """Check that the newest complete checkpoint is of a step, and has the random state of both."""
    saved = checkpoints.all_complete(folder.checkpoints)[-1]
    states = {path.name for path in (folder.checkpoints / saved.name).glob("rng_state*")}
    assert (saved.step, states) == (step, {"rng_state_0.pth", "rng_state_1.pth"})


def test_rewards_in_two_processes_save_and_stop_at_one_step(small_workspace: Workspace) -> None:
    """A checkpoint of one step has the random state of both, and the run continues from it."""
    settings = {"evaluation_steps": 100, "save_steps": 100}
    plan = write_grpo_plan(small_workspace, "grpo", small_workspace.root / "trap", **settings)
    folder = small_workspace.train(in_ranks(plan), "two")
    until_step(folder, 1, 200)
    requests.send(folder, "save", 1)
    until(folder, lambda _: bool(events(folder, "checkpoint")), 60)
    (asked,) = events(folder, "checkpoint")
    require_saved(folder, asked["step"])
    until_step(folder, asked["step"] + 1, 60)
    ok("stop", "two")
    status = until_ended(folder, 60)
    assert status.end_reason == "stopped", (status, read_logs(folder))
    until_gone(folder)
    last = events(folder, "log")[-1]["step"]
    require_saved(folder, last)

    ok("resume", "two")
    until_step(folder, last + 1, 200)
    assert next(e for e in events(folder, "log") if e["attempt"] == 2)["step"] == last + 1
    resumed = as_json("status", "two")["resumed"]
    assert (resumed["step"], resumed["ranks"], resumed["not_restored"]) == (last, 2, {})
