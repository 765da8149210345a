"""Home's runs: searched as one types, marked, compared, removed."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from textual.pilot import Pilot

from ftwizard.jobs import events
from ftwizard.jobs.folder import JobFolder
from ftwizard.screens.app import FtwizardApp
from tests.screens.frames import assert_frame, drive, frame, says, until
from tests.screens.runs_helpers import living, make_run

PLAN = """\
data: {{files: {{train: /data/tickets.jsonl}}}}
model: {{name: owner/{model}}}
recipe: {{learning_rate: {rate}, rank: {rank}}}
"""
SAME = {"train": "t", "split": "s", "model": "m"}


@pytest.fixture
def three(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[JobFolder]:
    """Give three runs, two of one model; a step takes two seconds."""
    clock = itertools.count(1_750_000_000, 2)
    clocks = SimpleNamespace(time=lambda: float(next(clock)), monotonic=time.monotonic)
    with monkeypatch.context() as patch:
        patch.setattr(events, "time", clocks)
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
    """Go to the newest run, the first that is listed."""
    await pilot.pause(0.1)
    await pilot.press("home", "down", "down", "down")


def test_the_list_is_searched_as_one_types_and_esc_shows_all_again(three: list[JobFolder]) -> None:
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
    assert "esc shows all" not in after


def test_enter_leads_to_what_was_found(three: list[JobFolder]) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("slash", *"sec", "enter", "enter")
        await says(pilot, "validation 0.0420")

    assert "✓ finished early" in drive(FtwizardApp(), (80, 24), play)


def test_letters_that_are_keys_are_typed(three: list[JobFolder]) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("slash", *"xcndq /?")

    shown = drive(FtwizardApp(), (80, 24), play)
    assert "xcndq /?" in shown
    assert "None of the 3 runs matches" in shown


@pytest.mark.parametrize(
    ("typed", "says_"),
    [
        ("nothing-like-it", "None of the 3 runs matches “nothing-like-it”"),
        ("failed small", "Without “failed”, 2 runs match."),
        ("sate:x", "Did you mean state:x?"),
        ("rate>x", "is not a number"),
    ],
)
def test_a_search_that_finds_nothing_says_what_to_do(
    three: list[JobFolder], typed: str, says_: str
) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("slash", *typed)
        await says(pilot, says_)

    drive(FtwizardApp(), (80, 24), play)


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
def test_marked_runs_are_compared(three: list[JobFolder], size: tuple[int, int]) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await point_at_first(pilot)
        await pilot.press("down", "space", "space", "c")
        await says(pilot, "recipe.rank")

    shown = drive(FtwizardApp(), size, play)
    assert "✓ 0.042 at 60" in shown
    assert_frame(f"compare-{size[0]}", shown)


def test_of_other_models_no_loss_is_called_the_better(three: list[JobFolder]) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await point_at_first(pilot)
        await pilot.press("space", "space", "space", "c")
        await says(pilot, "tokenizer")

    shown = drive(FtwizardApp(), (160, 50), play)
    assert "✓ 0.042" not in shown
    assert_frame("compare-models-160", shown)


def test_training_losses_are_compared_too(three: list[JobFolder]) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await point_at_first(pilot)
        await pilot.press("space", "space", "c")
        await says(pilot, "validation loss by step")
        await pilot.press("m")
        await says(pilot, "training loss by step")
        await pilot.press("escape")
        await says(pilot, "A third")

    assert "B second" in drive(FtwizardApp(), (80, 24), play), "the marks stay"


def test_ascii_tells_the_runs_apart(three: list[JobFolder]) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await point_at_first(pilot)
        await pilot.press("space", "space", "c")
        await says(pilot, "recipe.learning_rate")

    shown = drive(FtwizardApp(ascii=True), (80, 24), play)
    chart = shown.split("validation loss by step")[1].split("step\n")[0]
    assert chart.count("A") > 2
    assert chart.count("B") > 2


def test_one_run_alone_is_compared_with_the_one_under_the_cursor(three: list[JobFolder]) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await point_at_first(pilot)
        await pilot.press("space", "c")
        await says(pilot, "A third  B second")

    drive(FtwizardApp(), (80, 24), play)


def test_a_run_is_removed_when_y_was_pressed(three: list[JobFolder]) -> None:
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await point_at_first(pilot)
        await pilot.press("x")
        await says(pilot, "Permanently delete run third?")
        recorded.append(frame(pilot.app))
        await pilot.press("enter")
        await pilot.pause(0.2)
        assert three[2].path.exists(), "Enter removes nothing"
        await pilot.press("x")
        await says(pilot, "Permanently delete")
        await pilot.press("y")
        await until(pilot, lambda: not three[2].path.exists())
        await until(pilot, lambda: "third" not in frame(pilot.app))

    after = drive(FtwizardApp(), (80, 24), play)
    assert "y delete" in recorded[0]
    assert "kB" in recorded[0]
    assert "first" in after
    assert "second" in after


def test_the_marked_runs_are_removed_together(three: list[JobFolder]) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await point_at_first(pilot)
        await pilot.press("space", "space", "x")
        await says(pilot, "Permanently delete 2 runs?")
        await pilot.press("y")
        await until(pilot, lambda: not three[1].path.exists() and not three[2].path.exists())

    drive(FtwizardApp(), (80, 24), play)
    assert three[0].path.exists()


def test_a_living_run_is_not_removed(three: list[JobFolder]) -> None:
    three[2].events.unlink()

    async def play(pilot: Pilot[Any]) -> None:
        await point_at_first(pilot)
        await pilot.press("x")
        await says(pilot, "ftwizard stop third")

    with living(three[2]):
        drive(FtwizardApp(), (80, 24), play)
    assert three[2].path.exists()


def test_the_keys_of_a_run_are_named_where_the_cursor_is_on_one(three: list[JobFolder]) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await point_at_first(pilot)
        await pilot.pause(0.2)

    on_a_run = drive(FtwizardApp(), (80, 24), play).splitlines()[-1]
    elsewhere = drive(FtwizardApp(), (80, 24)).splitlines()[-1]
    assert "space mark" in on_a_run
    assert "x delete" in on_a_run
    assert "remove" not in elsewhere
    assert "n new fine-tune" in elsewhere
