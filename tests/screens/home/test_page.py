"""The home page: actions, and every run with its state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from ftwizard.screens.app import FtwizardApp
from tests.screens.frames import drive, frame, wait_for_text
from tests.screens.runs_helpers import make_run

SIZES = [(80, 24), (120, 40), (200, 60)]


def test_home_without_runs_offers_a_new_fine_tune() -> None:
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
        await wait_for_text(pilot, "0.105")

    lines = drive(FtwizardApp(), size, wait).splitlines()
    newer = next(i for i, line in enumerate(lines) if "newer" in line)
    older = next(i for i, line in enumerate(lines) if "older" in line)
    assert newer < older
    assert "✗ crashed" in lines[newer]
    assert "✓ finished" in lines[older]
    assert "0.105" in lines[older], "the best validation loss"
    assert "█" in lines[older], "the sparkline"
    assert lines[older].rstrip().endswith(("s", "min"))


def test_smallest_window_truncates_names_but_not_update_times(home: Path) -> None:
    make_run(home, "a-name-that-is-longer-than-its-column")

    async def wait(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "a-name")

    lines = drive(FtwizardApp(), (60, 16), wait).splitlines()
    assert any(line.rstrip().endswith("updated") for line in lines)
    run = next(line for line in lines if "a-name" in line)
    assert "…" in run and run.rstrip().endswith(("s", "min"))


def test_enter_opens_a_run_and_esc_returns_to_it(home: Path) -> None:
    make_run(home, "only")
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("end", "enter")
        await wait_for_text(pilot, "validation 0.1050")
        recorded.append(frame(pilot.app))
        await pilot.press("escape")
        await wait_for_text(pilot, "▸ only")

    back = drive(FtwizardApp(), (80, 24), play)
    assert "✓ finished" in recorded[0]
    assert "validation 0.1050" in recorded[0]
    assert "▸ only" in back, "the cursor is on the run that was open"


def test_deleted_run_disappears_from_the_list(home: Path) -> None:
    job = make_run(home, "gone")

    async def play(pilot: Pilot[Any]) -> None:
        job.job.unlink()
        await wait_for_text(pilot, "No runs yet.")

    assert "No runs yet." in drive(FtwizardApp(), (80, 24), play)


def test_help_lists_the_keys() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("question_mark")

    shown = drive(FtwizardApp(), (80, 24), play)
    assert "new fine-tune" in shown
    assert "enter      open the line" in shown
