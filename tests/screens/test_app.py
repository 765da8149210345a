"""The app itself: what goes wrong in a screen is a sentence, and kept in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual import work
from textual.app import ComposeResult
from textual.pilot import Pilot
from textual.widgets import Static

from ftwizard.errors import FtwizardError
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.dialogs.dialog import ErrorDialog
from ftwizard.screens.page import Page
from tests.screens.frames import drive, says, until


class Faulty(Page[None]):
    NAME = "Faulty"

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def body(self) -> ComposeResult:
        yield Static("here")

    @work(exit_on_error=False)
    async def on_mount(self) -> None:
        secret = "sk-hidden"
        if secret:
            raise self.error


async def show(pilot: Pilot[Any], error: Exception) -> None:
    pilot.app.push_screen(Faulty(error))
    await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))


def test_a_fault_in_a_screen_is_told_and_kept_without_values(home: Path) -> None:
    shown = drive(FtwizardApp(), (80, 24), lambda p: show(p, ValueError("made up")))
    assert "Internal error." in shown
    (file,) = (home / "crashes").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert "ValueError: made up" in file.read_text()
    assert "sk-hidden" not in file.read_text().replace('secret = "sk-hidden"', "")


def test_an_error_with_words_is_shown_as_it_is(home: Path) -> None:
    error = FtwizardError("It [bold]failed[/].", "Do this \x1b[31mnext.")
    shown = drive(FtwizardApp(), (80, 24), lambda p: show(p, error))
    assert "✗ It [bold]failed[/]." in shown
    assert "␛[31mnext." in shown
    assert not (home / "crashes").exists()


def test_a_crash_of_the_whole_app_says_where_it_is_kept(home: Path) -> None:
    app = FtwizardApp()

    async def crash(pilot: Pilot[Any]) -> None:
        pilot.app._handle_exception(RuntimeError("whole"))
        await pilot.pause()

    with pytest.raises(RuntimeError, match="whole"):
        drive(app, (80, 24), crash)
    assert "the interface crashed; runs keep running." in app.session.farewell[0]
    assert "RuntimeError: whole" in next((home / "crashes").iterdir()).read_text()


def test_it_begins_slow_and_says_so() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await says(pilot, "slow connection")

    drive(FtwizardApp(slow=True), (80, 24), play)
