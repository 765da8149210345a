"""Runs on the home page: search, marks, comparison and deletion."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from ftwizard.jobs import clock
from ftwizard.jobs.clock import Instant
from ftwizard.jobs.folder import JobFolder
from ftwizard.screens.app import FtwizardApp
from tests.screens.frames import assert_frame, drive, frame, until, wait_for_text
from tests.screens.runs_helpers import living, make_run

PLAN = """\
data: {{files: {{train: /data/tickets.jsonl}}}}
model: {{name: owner/{model}}}
recipe: {{learning_rate: {rate}, rank: {rank}}}
"""
SAME = {"train": "t", "split": "s", "model": "m"}


@pytest.fixture
def three_runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[JobFolder]:
    """Return three runs, two with the same model; a step takes two seconds."""
    seconds = itertools.count(0.0, 2.0)
    with monkeypatch.context() as patch:
        patch.setattr(clock, "read", lambda: Instant(1.75e9, next(seconds)))
        result = [
            _run(home, "first", "small", 2e-4, 8, steps=40),
            _run(
                home, "second", "small", 5e-5, 16, steps=60, scale=0.6, end_reason="early_stopped"
            ),
            _run(home, "third", "big", 2e-5, 16, steps=30, scale=1.5, end_reason="crashed"),
        ]
    job = json.loads(result[2].job.read_text()) | {"hashes": SAME | {"model": "n"}}
    result[2].job.write_text(json.dumps(job))
    return result


def _run(home: Path, name: str, model: str, rate: float, rank: int, **more: Any) -> JobFolder:
    folder = make_run(home, name, **more)
    folder.plan.write_text(PLAN.format(model=model, rate=rate, rank=rank))
    job = json.loads(folder.job.read_text())
    folder.job.write_text(json.dumps(job | {"hashes": SAME}))
    return folder


async def point_at_first(pilot: Pilot[Any]) -> None:
    """Move the cursor to the newest run, the first in the list."""
    await pilot.pause(0.1)
    await pilot.press("home", "down", "down", "down")


def test_search_filters_while_typing_and_esc_clears_it(three_runs: list[JobFolder]) -> None:
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("slash", *"small rate>1e-4")
        await until(pilot, lambda: "▸ first" in (now := frame(pilot.app)) and "second" not in now)
        recorded.append(frame(pilot.app))
        await pilot.press("escape")

    after = drive(FtwizardApp(), (80, 24), play)
    assert "▸ first" in recorded[0]
    assert "third" not in recorded[0]
    assert "Esc: show all runs" in recorded[0]
    assert all(name in after for name in ("first", "second", "third", "New fine-tune"))
    assert "Esc: show all runs" not in after


def test_enter_opens_the_search_result(three_runs: list[JobFolder]) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("slash", *"sec", "enter", "enter")
        await wait_for_text(pilot, "validation 0.0420")

    assert "✓ finished early" in drive(FtwizardApp(), (80, 24), play)


def test_key_letters_can_be_typed_into_the_search(three_runs: list[JobFolder]) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("slash", *"xcndq /?")

    shown = drive(FtwizardApp(), (80, 24), play)
    assert "xcndq /?" in shown
    assert "None of the 3 runs matches" in shown


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("nothing-like-it", "None of the 3 runs matches “nothing-like-it”"),
        ("failed small", "Without “failed”, 2 runs match."),
        ("sate:x", "Did you mean state:x?"),
        ("rate>x", "is not a number"),
    ],
)
def test_search_without_matches_suggests_a_change(
    three_runs: list[JobFolder], typed: str, message: str
) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("slash", *typed)
        await wait_for_text(pilot, message)

    drive(FtwizardApp(), (80, 24), play)


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
def test_marked_runs_are_compared(three_runs: list[JobFolder], size: tuple[int, int]) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await point_at_first(pilot)
        await pilot.press("down", "space", "space", "c")
        await wait_for_text(pilot, "recipe.rank")

    shown = drive(FtwizardApp(), size, play)
    assert "✓ 0.042 at 60" in shown
    assert_frame(f"compare-{size[0]}", shown)


def test_losses_of_different_models_are_not_ranked(three_runs: list[JobFolder]) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await point_at_first(pilot)
        await pilot.press("space", "space", "space", "c")
        await wait_for_text(pilot, "tokenizer")

    shown = drive(FtwizardApp(), (160, 50), play)
    assert "✓ 0.042" not in shown
    assert_frame("compare-models-160", shown)


def test_m_switches_the_comparison_to_training_loss(three_runs: list[JobFolder]) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await point_at_first(pilot)
        await pilot.press("space", "space", "c")
        await wait_for_text(pilot, "validation loss by step")
        await pilot.press("m")
        await wait_for_text(pilot, "training loss by step")
        await pilot.press("escape")
        await wait_for_text(pilot, "A third")

    assert "B second" in drive(FtwizardApp(), (80, 24), play), "the marks are kept"


def test_ascii_comparison_labels_each_run_in_the_chart(three_runs: list[JobFolder]) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await point_at_first(pilot)
        await pilot.press("space", "space", "c")
        await wait_for_text(pilot, "recipe.learning_rate")

    shown = drive(FtwizardApp(ascii=True), (80, 24), play)
    chart = shown.split("validation loss by step")[1].split("step\n")[0]
    assert chart.count("A") > 2
    assert chart.count("B") > 2


def test_single_marked_run_is_compared_with_the_run_at_the_cursor(
    three_runs: list[JobFolder],
) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await point_at_first(pilot)
        await pilot.press("space", "c")
        await wait_for_text(pilot, "A third  B second")

    drive(FtwizardApp(), (80, 24), play)


def test_y_deletes_the_run_and_enter_does_not(three_runs: list[JobFolder]) -> None:
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await point_at_first(pilot)
        await pilot.press("x")
        await wait_for_text(pilot, "Permanently delete run third?")
        recorded.append(frame(pilot.app))
        await pilot.press("enter")
        await pilot.pause(0.2)
        assert three_runs[2].path.exists(), "Enter deletes nothing"
        await pilot.press("x")
        await wait_for_text(pilot, "Permanently delete")
        await pilot.press("y")
        await until(pilot, lambda: not three_runs[2].path.exists())
        await until(pilot, lambda: "third" not in frame(pilot.app))
        await wait_for_text(pilot, "first")

    after = drive(FtwizardApp(), (80, 24), play)
    assert "y delete" in recorded[0]
    assert "kB" in recorded[0]
    assert re.search(r"run third\? +│", recorded[0]), "its size is in the details"
    assert "first" in after
    assert "second" in after


def test_marked_runs_are_deleted_together(three_runs: list[JobFolder]) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await point_at_first(pilot)
        await pilot.press("space", "space", "x")
        await wait_for_text(pilot, "Permanently delete 2 runs?")
        await pilot.press("y")
        await until(
            pilot, lambda: not three_runs[1].path.exists() and not three_runs[2].path.exists()
        )

    drive(FtwizardApp(), (80, 24), play)
    assert three_runs[0].path.exists()


def test_live_run_is_not_deleted(three_runs: list[JobFolder]) -> None:
    three_runs[2].events.unlink()

    async def play(pilot: Pilot[Any]) -> None:
        await point_at_first(pilot)
        await pilot.press("x")
        await wait_for_text(pilot, "ftwizard stop third")

    with living(three_runs[2]):
        drive(FtwizardApp(), (80, 24), play)
    assert three_runs[2].path.exists()


def test_footer_shows_run_keys_only_on_a_run(three_runs: list[JobFolder]) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await point_at_first(pilot)
        await pilot.pause(0.2)

    on_a_run = drive(FtwizardApp(), (80, 24), play).splitlines()[-1]
    elsewhere = drive(FtwizardApp(), (80, 24)).splitlines()[-1]
    assert "space mark" in on_a_run
    assert "x delete" in on_a_run
    assert "x delete" not in elsewhere
    assert "n new fine-tune" in elsewhere
