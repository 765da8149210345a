"""Error handling of the app: dialogs, crash reports and the slow-connection notice."""

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
from ftwizard.screens.dialogs import command_progress
from ftwizard.screens.dialogs.command_progress import CommandProgress
from ftwizard.screens.dialogs.dialog import Dialog, ErrorDialog
from ftwizard.screens.dialogs.forms import SaveAsDialog
from ftwizard.screens.dialogs.questions import (
    ChooseDialog,
    ConfirmDialog,
    DestructiveConfirm,
    TypedConfirm,
)
from ftwizard.screens.page import Page
from tests.screens.frames import drive, frame, until, wait_for_text


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


def test_screen_crash_report_omits_local_values(home: Path) -> None:
    shown = drive(FtwizardApp(), (80, 24), lambda p: show(p, ValueError("made up")))
    assert "Internal error." in shown
    (file,) = (home / "crashes").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert "ValueError: made up" in file.read_text()
    assert "sk-hidden" not in file.read_text().replace('secret = "sk-hidden"', "")


def test_ftwizard_error_shows_its_message_without_a_crash_report(home: Path) -> None:
    error = FtwizardError("It [bold]failed[/].", "Do this \x1b[31mnext.")
    shown = drive(FtwizardApp(), (80, 24), lambda p: show(p, error))
    assert "✗ It [bold]failed[/]." in shown
    assert "␛[31mnext." in shown
    assert not (home / "crashes").exists()


def test_app_crash_leaves_a_message_and_a_crash_report(home: Path) -> None:
    app = FtwizardApp()

    async def crash(pilot: Pilot[Any]) -> None:
        pilot.app._handle_exception(RuntimeError("whole"))
        await pilot.pause()

    with pytest.raises(RuntimeError, match="whole"):
        drive(app, (80, 24), crash)
    assert "the interface crashed; runs keep running." in app.session.farewell[0]
    assert "RuntimeError: whole" in next((home / "crashes").iterdir()).read_text()


class Closing(Page[None]):
    """Closes before the refresh after which it wants to be called."""

    NAME = "Closing"

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def body(self) -> ComposeResult:
        yield Static("here")

    @work(exit_on_error=False)
    async def close(self) -> None:
        self.call_after_refresh(self.calls.append, "refreshed")
        self.dismiss()


def test_closed_page_gets_no_callback_after_the_next_refresh() -> None:
    """By then its widgets are gone, at least on a busy machine."""
    page = Closing()

    async def play(pilot: Pilot[Any]) -> None:
        await pilot.app.push_screen(page)
        page.close()
        await until(pilot, lambda: not page.is_attached)

    assert "New fine-tune" in drive(FtwizardApp(), (80, 24), play)
    assert not page.calls


def test_slow_start_shows_the_slow_connection_notice() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "slow connection")

    drive(FtwizardApp(slow=True), (80, 24), play)


def get_footer(pilot: Pilot[Any]) -> str:
    return frame(pilot.app).rpartition("\n")[2]


DIALOGS: dict[str, tuple[Dialog[Any], str]] = {
    "error": (ErrorDialog(FtwizardError("It failed.")), "enter close ^q quit"),
    "question": (
        ConfirmDialog("Leave?", "", "leave", "stay"), "enter leave esc stay ^q quit",
    ),
    "deletion": (DestructiveConfirm("Delete?", "", "delete"), "y delete esc cancel ^q quit"),
    "phrase": (TypedConfirm("Sure?", "", "yes"), "enter confirm esc back ^q quit"),
    "choice": (
        ChooseDialog("Which?", "", [("a", "A")]), "enter select esc back ^q quit",
    ),
    "form": (
        SaveAsDialog("Name?", fields=[("File", "")]), "enter set it esc cancel ^q quit",
    ),
}  # fmt: skip


def test_a_choice_fits_its_box_whatever_the_length_of_its_text() -> None:
    """One line too many would scroll the question out of view."""

    async def play(pilot: Pilot[Any]) -> None:
        for words in range(9, 14):  # some of them fill a line up to the place of the scrollbar
            for last in range(1, 6):
                details = " ".join(["12345"] * words + ["x" * last])
                dialog = ChooseDialog("Which?", details, [("a", "A")])
                pilot.app.push_screen(dialog)
                await wait_for_text(pilot, "▸ A")
                await pilot.pause()
                assert "Which?" in frame(pilot.app), details
                box = dialog.query_one("#box")
                assert box.virtual_size.height <= box.size.height, details
                await dialog.dismiss(None)

    drive(FtwizardApp(), (80, 24), play)


@pytest.mark.parametrize("name", DIALOGS)
def test_footer_under_a_dialog_shows_only_its_keys(name: str) -> None:
    dialog, keys = DIALOGS[name]

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "? help ^q quit")
        pilot.app.push_screen(dialog)
        await until(pilot, lambda: get_footer(pilot) == keys)
        assert "? help" not in frame(pilot.app)
        dialog.dismiss(None)
        await wait_for_text(pilot, "? help ^q quit")

    drive(FtwizardApp(), (60, 16), play)


def test_footer_under_the_help_shows_how_to_close_it() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "? help ^q quit")
        await pilot.press("f1")
        await until(pilot, lambda: get_footer(pilot) == "esc close ^q quit")
        await pilot.press("escape")
        await wait_for_text(pilot, "? help ^q quit")

    drive(FtwizardApp(), (80, 24), play)


def test_footer_stays_unchanged_during_a_short_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_progress, "SHOW_AFTER_S", float("inf"))
    monkeypatch.setattr(CommandProgress, "_run", lambda _: None)

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "? help ^q quit")
        pilot.app.push_screen(CommandProgress("Reading", "check"))
        await until(pilot, lambda: isinstance(pilot.app.screen, CommandProgress))
        await wait_for_text(pilot, "? help ^q quit")
        monkeypatch.setattr(command_progress, "SHOW_AFTER_S", 0.0)
        await until(pilot, lambda: get_footer(pilot) == "esc cancel ^q quit")

    drive(FtwizardApp(), (80, 24), play)
