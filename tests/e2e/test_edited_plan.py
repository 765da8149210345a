"""An edited plan of a real run: noticed on resume, and started as a child run by the printed command."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest

from ftwizard.errors import DECLINED
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan import changes, plan_file
from tests.e2e.cli import as_json, as_json_here, ok, run, run_here
from tests.e2e.workspace import LONG, Workspace, losses
from tests.helpers.jobs import events, until_ended, until_step

pytestmark = pytest.mark.slow
COMMAND = re.compile(r"ftwizard (branch \S+ --edited)")


@pytest.fixture
def stopped(small_workspace: Workspace) -> JobFolder:
    """Return a run that was stopped after some steps."""
    plan = small_workspace.plan(epochs=LONG, batch_size=2, save_steps=2, evaluation_steps=4)
    folder = small_workspace.train(plan, "one")
    until_step(folder, 5, 60)
    ok("stop", "one")
    until_ended(folder, 60)
    return folder


def edit(folder: JobFolder, *settings: str) -> None:
    plan = plan_file.read_recorded(folder)
    assert plan
    folder.plan.write_text("# edited\n" + plan_file.dump(changes.set_values(plan, settings)))


def test_what_a_run_was_trained_with_is_refused_and_the_printed_command_starts_a_child(
    small_workspace: Workspace, stopped: JobFolder
) -> None:
    # A busy machine takes more steps before it stops.
    best = min(events(stopped, "eval"), key=lambda event: event["eval_loss"])["step"]
    for number, (setting, difference, step) in enumerate(
        (
            ("learning_rate=1e-4", "learning_rate 0.0005 → 0.0001", best),  # trains, as the last
            ("alpha=64", "alpha 32 → 64", None),
            ("recipe.seed=7", "seed 42 → 7", None),
            ("batch_size=1", "batch_size 2 → 1", best),
            ("epochs=2", f"epochs {LONG} → 2", None),
            ("max_length=40", "max_length 160 → 40", None),
            ("rank=4", "rank 8 → 4", 0),
            ("method=full", "method lora → full", 0),
        )
    ):
        edit(stopped, setting, "budget.hours=1")
        refused = run_here("resume", "one")
        assert refused.returncode == DECLINED, refused.stderr
        assert f"recipe.{difference}." in refused.stderr, refused.stderr
        command = COMMAND.search(refused.stderr)
        assert command and "ftwizard resume one --restore-plan" in refused.stderr, refused.stderr
        if step is not None:
            trains = number in (0, 7)
            kid = start_child(small_workspace, f"kid-{number}", command[1], difference, trains)
            assert (kid["step"], *kid["changes"]["budget.hours"]) == (step, None, 1)
    assert stopped.newest_attempt() == 1


def start_child(
    workspace: Workspace, name: str, command: str, difference: str, trains: bool
) -> Any:
    """Run the printed command, until the child's first step if it trains; return its parent."""
    printed = ok(*shlex.split(command), "--name", name)
    folder = workspace.folder(name)
    if trains:
        until_step(folder, 1, 60)
    ok("stop", name, "--kill")
    parent = as_json_here("status", name)["parent"]
    assert difference in printed and ("base model" in printed) == (parent["step"] == 0), printed
    assert folder.origin.is_dir() == (parent["step"] > 0)
    return parent


def test_what_may_change_takes_effect_and_is_recorded(stopped: JobFolder) -> None:
    edit(stopped, "budget.hours=5", "patience=900", "samples.count=2", "save_steps=3")
    printed = ok("resume", "one")
    listed = (
        "recipe.save_steps 2 → 3, recipe.patience 3 → 900, budget.hours not set → 5, "
        "samples.count 0 → 2"
    )
    assert f"Changed from now on: {listed}." in printed
    edit(
        stopped, "rank=4", "learning_rate=1e-9"
    )  # too late for this attempt: it was checked before
    until_step(stopped, 12, 60)
    ok("stop", "one")
    assert f"changed in attempt 2: {listed}" in " ".join(ok("status", "one").split())
    assert as_json("status", "one")["changes"]["2"]["recipe.patience"] == [3, 900]
    assert events(stopped, "sample"), "the samples are answered at the next evaluation"
    saved = {event["step"] for event in events(stopped, "checkpoint") if event["attempt"] == 2}
    assert 9 in saved and 10 not in saved, saved

    restored = run("resume", "one", "--restore-plan")
    assert restored.returncode == 0 and "plan.edited.yaml" in restored.stderr, restored.stderr
    assert restored.stdout.count("\n") == 1 and "Changed" not in restored.stdout, restored.stdout
    until_step(stopped, max(event["step"] for event in events(stopped, "log")) + 1, 60)
    losses(stopped)  # repeated steps are equal
    ok("stop", "one", "--kill")
    assert list(as_json("status", "one")["changes"]) == ["2"]
    assert plan_file.load(stopped.plan, begun=True) == plan_file.read_recorded(stopped)
