"""Child runs from the monitor: a smaller batch after a run out of memory, and an edited plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.models.hub import ModelSource
from ftwizard.plan import changes, plan_file
from ftwizard.runs import store
from ftwizard.screens.app import FtwizardApp
from ftwizard.train import launcher
from tests.helpers.checkpoints import save
from tests.screens.frames import assert_frame, drive, frame, until, wait_for_text
from tests.screens.monitor.test_diagnosis import shows_child_run
from tests.screens.runs_helpers import make_run

PLAN = """\
data: {{files: {{train: {rows}}}, split: {{validation: 0.2}}}}
model: {{name: owner/model}}
recipe: {{batch_size: 4, gradient_accumulation: 2}}
"""


def make_parent(home: Path, end_reason: str) -> JobFolder:
    """Return an ended run that recorded its plan; its model cannot be fetched here."""
    folder = make_run(home, "jumpy", end_reason=end_reason)
    rows = home / "rows.jsonl"
    lines = [{"prompt": f"{n}: ", "completion": "yes"} for n in range(20)]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder.plan.write_text(PLAN.format(rows=rows))
    plan = changes.pin_defaults(plan_file.load(folder.plan))
    source = ModelSource(
        kind="hub", name="owner/model", fingerprint="0", description="owner/model", commit="0"
    )
    recorded = {"plan": msgspec.to_builtins(plan)}
    record = msgspec.structs.replace(
        folder.read_job(), inputs={"model": msgspec.to_builtins(source)},
        hashes=launcher.hash_data(plan), **recorded,
    )  # fmt: skip
    write_json(folder.job, record)
    save(folder.checkpoints, 40)
    attempt = folder.newest_attempt()
    write_json(
        folder.attempt(attempt), msgspec.structs.replace(folder.read_attempt(attempt), **recorded)
    )
    return folder


@pytest.mark.parametrize("reason", ["out_of_gpu_memory", "out_of_memory"])
def test_b_starts_a_run_with_a_smaller_batch(home: Path, reason: str) -> None:
    make_parent(home, reason)
    shown: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "b starts a new run with a smaller batch")
        assert "ftwizard branch jumpy --smaller-batch" in " ".join(frame(pilot.app).split())
        await pilot.press("b")
        await wait_for_text(pilot, "Start a new run with a smaller batch?")
        await pilot.press("escape")
        await pilot.pause(0.2)
        assert len(store.list_runs()) == 1, "Esc starts nothing"
        await pilot.press("b")
        await wait_for_text(pilot, "Start a new run with a smaller batch?")
        await pilot.press("enter")
        await until(pilot, lambda: shows_child_run(pilot, shown))

    drive(FtwizardApp(("run", "jumpy")), (80, 24), play)
    parent = store.find(shown[0]).read_job().parent
    assert parent and parent.changes == {
        "recipe.batch_size": (4, 2), "recipe.gradient_accumulation": (2, 4)
    }  # fmt: skip


def test_b_is_not_offered_after_other_ends(home: Path) -> None:
    make_parent(home, "stopped")

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "resumes the run")
        await pilot.press("b")
        await pilot.pause(0.2)
        assert "smaller batch" not in frame(pilot.app)

    drive(FtwizardApp(("run", "jumpy")), (80, 24), play)


@pytest.mark.parametrize("choice", ["child", "restore", "neither"])
def test_r_asks_what_to_do_with_an_edited_plan(home: Path, choice: str) -> None:
    folder = make_parent(home, "stopped")
    kept = plan_file.read_recorded(folder)
    edited = plan_file.dump(
        changes.set_values(plan_file.parse(folder.plan.read_text()), ["rank=8"])
    )
    folder.plan.write_text(edited)
    shown: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "resumes the run")
        await pilot.press("r")
        await wait_for_text(pilot, "Which settings?")
        if choice == "neither":
            assert_frame("monitor-edited-plan-80x24", frame(pilot.app))
            await pilot.press("escape")
            await pilot.pause(0.2)
            assert "Which settings?" not in frame(pilot.app)
        elif choice == "restore":
            await pilot.press("down", "enter")
            await until(pilot, lambda: folder.newest_attempt() == 2)
        else:
            await pilot.press("enter")
            await until(pilot, lambda: shows_child_run(pilot, shown))

    drive(FtwizardApp(("run", "jumpy")), (80, 24), play)
    assert folder.newest_attempt() == (2 if choice == "restore" else 1)
    assert plan_file.read_recorded(folder) == kept
    assert (folder.path / "plan.edited.yaml").exists() == (choice == "restore")
    if choice == "child":
        parent = store.find(shown[0]).read_job().parent
        assert parent and parent.changes == {"recipe.rank": (16, 8)}
        assert folder.plan.read_text() == edited, "the parent's files are left alone"
    else:
        assert len(store.list_runs()) == 1


def test_r_offers_to_restore_a_missing_plan(home: Path) -> None:
    folder = make_parent(home, "stopped")
    folder.plan.unlink()

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "resumes the run")
        await pilot.press("r")
        await wait_for_text(pilot, "▸ resume as before")
        assert "does not exist" in frame(pilot.app) and "new run" not in frame(pilot.app)
        await pilot.press("enter")
        await until(pilot, lambda: folder.newest_attempt() == 2)

    drive(FtwizardApp(("run", "jumpy")), (80, 24), play)
    assert plan_file.load(folder.plan) == plan_file.read_recorded(folder)


def test_taken_over_change_is_shown(home: Path) -> None:
    folder = make_parent(home, "stopped")
    edited = changes.set_values(plan_file.parse(folder.plan.read_text()), ["budget.hours=2"])
    folder.plan.write_text(plan_file.dump(edited))

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "resumes the run")
        await pilot.press("r")
        await wait_for_text(pilot, "Changed from now on: budget.hours not set → 2")

    drive(FtwizardApp(("run", "jumpy")), (80, 24), play)
    assert folder.read_attempt(2).changes == {"budget.hours": (None, 2.0)}
