"""Preferences and rewards in two processes on the CPU: losses and figures of one, kills, failures."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from ftwizard.jobs.folder import JobFolder
from tests.e2e.cli import as_json, ok
from tests.e2e.test_ranks import find, finish, in_ranks, read_logs, until_gone
from tests.e2e.workspace import Workspace, losses
from tests.helpers.jobs import events, until_ended, until_step
from tests.helpers.pairs import write_pairs

pytestmark = pytest.mark.slow


def require_equal(one: JobFolder, two: JobFolder, kind: str, names: tuple[str, ...]) -> None:
    """Check that events of two runs have the same values, by step."""
    expected = {event["step"]: event for event in events(one, kind)}
    measured = {event["step"]: event for event in events(two, kind)}
    assert expected.keys() == measured.keys() and len(expected) > 1
    for step, event in expected.items():
        values = [measured[step][name] for name in names]
        assert values == pytest.approx([event[name] for name in names], rel=2e-4, abs=1e-5), step


def test_dpo_in_two_processes_survives_a_kill_with_the_losses_of_one(
    small_workspace: Workspace,
) -> None:
    """An odd number of pairs: the last batches of an epoch and of an evaluation are not full."""
    data = write_pairs(small_workspace.root / "pairs-in.jsonl")
    recipe: dict[str, Any] = {
        "rows": 37, "objective": "dpo", "learning_rate": 2e-3, "save_steps": 2, "precision": "fp32",
    }  # fmt: skip
    single = small_workspace.plan("one", data=data, batch_size=4, **recipe)
    two = in_ranks(small_workspace.plan("two", data=data, batch_size=2, **recipe))
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
    require_equal(
        alone, folder, "eval", ("eval_loss", "eval_rows", *(f"eval_{name}" for name in names))
    )
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


def write_grpo_plan(workspace: Workspace, trap: Path) -> Path:
    """Write a plan of two processes that have half a group of answers each in a step."""
    prompts = [f"What color is thing {'x' * n}? Answer with one word." for n in range(27)]
    for name, part in (("train", prompts[:24]), ("val", prompts[24:])):
        lines = [json.dumps({"prompt": prompt, "completion": "red"}) for prompt in part]
        (workspace.root / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    (workspace.root / "own.py").write_text(OWN.format(trap=str(trap)))
    body = {
        "data": {"files": {"train": "train.jsonl", "validation": "val.jsonl"},
                 "split": {"test": 0}},
        "model": {"name": str(workspace.model)},
        "recipe": {
            "objective": "grpo", "batch_size": 2, "gradient_accumulation": 1, "rank": 4,
            "learning_rate": 1e-4, "max_steps": 400, "evaluation_steps": 2, "max_length": 64,
            "grpo": {
                "num_generations": 4, "max_completion_length": 4,
                "rewards": [{"function": "own.py:brief"}, {"function": "own.py:length"}],
            },
        },
        "samples": {"count": 0},
        "where": {"processes": 2},
        "finish": {"merge": False, "compare": False},
        "evaluate": {"general": False, "safety": False, "shots": 0},
        "allow": ["many-epochs", "weak-grader"],
    }  # fmt: skip
    path = workspace.root / "grpo.yaml"
    path.write_text(json.dumps(body))
    return path


def test_rewards_in_two_processes_end_together(small_workspace: Workspace) -> None:
    """One process's reward function fails once; both save the step before it, and end."""
    trap = small_workspace.root / "trap"
    folder = small_workspace.train(write_grpo_plan(small_workspace, trap), "rewards")
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
    for event in events(folder, "eval"):
        value = event["eval_rewards_length_mean"]
        assert any(value == pytest.approx(each, rel=1e-5) for each in possible), (value, possible)
    assert as_json("status", "rewards")["ranks"]["processes"] == 2
