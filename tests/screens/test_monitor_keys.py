"""The monitor's keys on a run that really lives: stop, save, evaluate, its output, leaving."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from ftwizard.jobs import lock, requests
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import observe
from ftwizard.screens.app import FtwizardApp
from tests.jobs_helpers import make, start, until, until_ended, until_step
from tests.screens.frames import drive, frame

WAIT_S = 30.0


def living(home: Path, **inputs: Any) -> JobFolder:
    """Start a run of the dummy command that takes long."""
    folder = start(make(home / "runs" / "alive", steps=5000, step_s=0.05, **inputs))
    until_step(folder, 2)
    return folder


async def wait(pilot: Pilot[Any], condition: Callable[[], bool]) -> None:
    for _ in range(int(WAIT_S / 0.1)):
        if condition():
            return
        await pilot.pause(0.1)
    raise AssertionError(f"not reached:\n{frame(pilot.app)}")


async def says(pilot: Pilot[Any], words: str) -> None:
    await wait(pilot, lambda: words in frame(pilot.app))


def test_stop_asks_then_saves_and_ends_the_run(home: Path) -> None:
    folder = living(home)

    async def play(pilot: Pilot[Any]) -> None:
        await says(pilot, "loss")
        await pilot.press("s")
        await says(pilot, "Stop this run?")
        await pilot.press("escape")
        await pilot.pause(0.3)
        assert observe(folder).state == "running", "esc leaves it alone"
        await pilot.press("s", "enter")
        await says(pilot, "■ stopped")

    shown = drive(FtwizardApp(("run", "alive")), (80, 24), play)
    assert "ftwizard resume alive" in shown
    assert until_ended(folder).end_reason == "stopped"
    assert (folder.path / "counter.json").exists(), "it saved"


def test_a_second_stop_ends_it_at_once(home: Path) -> None:
    folder = living(home, mode="deaf")

    async def play(pilot: Pilot[Any]) -> None:
        await says(pilot, "loss")
        await pilot.press("s", "enter")
        await says(pilot, "stopping")
        await pilot.press("s")
        await says(pilot, "End it at once?")
        await pilot.press("enter")
        await wait(pilot, lambda: observe(folder).state == "ended")

    drive(FtwizardApp(("run", "alive")), (80, 24), play)
    assert until_ended(folder).end_reason == "killed"


def test_save_and_evaluate_are_asked_for_by_small_files(home: Path) -> None:
    folder = living(home)

    async def play(pilot: Pilot[Any]) -> None:
        await says(pilot, "loss")
        await pilot.press("v")
        await says(pilot, "It saves when this step is done.")
        await pilot.press("e")
        await says(pilot, "It measures the validation loss")

    drive(FtwizardApp(("run", "alive")), (80, 24), play)
    assert requests.pending(folder, "save", 1)
    assert requests.pending(folder, "evaluate", 1)
    assert lock.is_held(folder.lock)


def test_its_output_is_shown_and_not_obeyed(home: Path) -> None:
    folder = living(home)
    with folder.log.open("a") as log:
        log.write("plain\n[red]markup[/] \x1b]52;c;QQ==\x07\n" + "x" * 5000 + "\n")

    async def play(pilot: Pilot[Any]) -> None:
        await says(pilot, "loss")
        await pilot.press("o")
        await says(pilot, "[red]markup[/] ␛]52;c;QQ==␇")

    drive(FtwizardApp(("run", "alive")), (80, 24), play)


def test_leaving_says_how_to_come_back_and_leaves_the_run_alone(home: Path) -> None:
    folder = living(home)
    app = FtwizardApp(("run", "alive"))

    async def play(pilot: Pilot[Any]) -> None:
        await says(pilot, "loss")
        await pilot.press("escape")
        await pilot.pause(0.2)

    drive(app, (80, 24), play)
    assert app.farewell == ["Run alive goes on. Come back with: ftwizard watch alive"]
    assert until(folder, lambda s: s.state == "running").state == "running"
