"""An edited plan of a real run: noticed on resume, and started as a child run by the printed command."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest

from ftwizard.errors import DECLINED
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan import changes, plan_file
from tests.e2e.cli import as_json_here, ok, ok_here, run_here
from tests.e2e.workspace import LONG, Workspace, losses
from tests.helpers.jobs import events, until_step
from tests.helpers.work_here import work_here

pytestmark = pytest.mark.slow
COMMAND = re.compile(r"ftwizard (branch \S+ --edited)")


@pytest.fixture
def stopped(small_workspace: Workspace) -> JobFolder:
    """Return a run that was stopped after some steps."""
    plan = small_workspace.plan(epochs=LONG, batch_size=2, save_steps=2, evaluation_steps=4)
    return small_workspace.train_here(plan, "one", stop_after=5)


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
            ("learning_rate=1e-4", "learning_rate 0.0005 → 0.0001", best),
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
            kid = start_child(small_workspace, f"kid-{number}", command[1], difference)
            assert (kid["step"], *kid["changes"]["budget.hours"]) == (step, None, 1)
    assert stopped.newest_attempt() == 1


def start_child(workspace: Workspace, name: str, command: str, difference: str) -> Any:
    """Run the printed command until the child's first step; return its parent."""
    with work_here(stop_after=1):
        printed = ok_here(*shlex.split(command), "--name", name)
    folder = workspace.folder(name)
    assert losses(folder)
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
    assert f"changed in attempt 2: {listed}" in " ".join(ok_here("status", "one").split())
    assert as_json_here("status", "one")["changes"]["2"]["recipe.patience"] == [3, 900]
    assert events(stopped, "sample"), "the samples are answered at the next evaluation"
    saved = {event["step"] for event in events(stopped, "checkpoint") if event["attempt"] == 2}
    assert 9 in saved and 10 not in saved, saved

    trained = max(losses(stopped))
    with work_here(stop_after=1):
        restored = run_here("resume", "one", "--restore-plan")
    assert restored.returncode == 0 and "plan.edited.yaml" in restored.stderr, restored.stderr
    assert restored.stdout.count("\n") == 1 and "Changed" not in restored.stdout, restored.stdout
    assert max(losses(stopped)) > trained  # repeated steps are equal
    assert list(as_json_here("status", "one")["changes"]) == ["2"]
    assert plan_file.load(stopped.plan, begun=True) == plan_file.read_recorded(stopped)
