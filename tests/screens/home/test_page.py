"""Home: what can be begun, and every run with its state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from ftwizard.screens.app import FtwizardApp
from tests.screens.frames import drive, frame, says
from tests.screens.runs_helpers import make_run

SIZES = [(80, 24), (120, 40), (200, 60)]


def test_without_runs_it_says_what_to_begin() -> None:
    shown = drive(FtwizardApp(), (80, 24))
    assert "▸ New fine-tune" in shown
    assert "No runs yet." in shown


@pytest.mark.parametrize("size", SIZES)
def test_runs_are_listed_newest_first_with_state_and_best_loss(
    home: Path, size: tuple[int, int]
) -> None:
    make_run(home, "older")
    make_run(home, "newer", end_reason="crashed")

    async def wait(pilot: Pilot[Any]) -> None:
        await says(pilot, "0.105")

    lines = drive(FtwizardApp(), size, wait).splitlines()
    newer = next(i for i, line in enumerate(lines) if "newer" in line)
    older = next(i for i, line in enumerate(lines) if "older" in line)
    assert newer < older
    assert "✗ crashed" in lines[newer]
    assert "✓ finished" in lines[older]
    assert "0.105" in lines[older], "the best validation loss"
    assert "█" in lines[older], "the sparkline"
    assert lines[older].rstrip().endswith(("s", "min"))


def test_in_the_smallest_window_when_a_run_was_heard_of_is_whole(home: Path) -> None:
    make_run(home, "a-name-that-is-longer-than-its-column")

    async def wait(pilot: Pilot[Any]) -> None:
        await says(pilot, "a-name")

    lines = drive(FtwizardApp(), (60, 16), wait).splitlines()
    assert any(line.rstrip().endswith("updated") for line in lines)
    run = next(line for line in lines if "a-name" in line)
    assert "…" in run and run.rstrip().endswith(("s", "min"))


def test_a_run_opens_with_enter_and_esc_leads_back(home: Path) -> None:
    make_run(home, "only")
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("end", "enter")
        await says(pilot, "validation 0.1050")
        recorded.append(frame(pilot.app))
        await pilot.press("escape")
        await says(pilot, "▸ only")

    back = drive(FtwizardApp(), (80, 24), play)
    assert "✓ finished" in recorded[0]
    assert "validation 0.1050" in recorded[0]
    assert "▸ only" in back, "it points at the run that was shown"


def test_a_run_that_is_removed_leaves_the_list(home: Path) -> None:
    job = make_run(home, "gone")

    async def play(pilot: Pilot[Any]) -> None:
        job.job.unlink()
        await says(pilot, "No runs yet.")

    assert "No runs yet." in drive(FtwizardApp(), (80, 24), play)


def test_help_lists_the_keys() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("question_mark")

    shown = drive(FtwizardApp(), (80, 24), play)
    assert "new fine-tune" in shown
    assert "Press Enter to open" in shown
