"""The rows page: rows that a held key passes, and waits for a row."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from rich.text import Text
from textual.pilot import Pilot

from ftwizard.screens import subprocesses
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.widgets.menu import Menu
from ftwizard.screens.wizard.data import rows
from ftwizard.screens.wizard.data.rows import RowSelection, RowsPage
from tests.screens.frames import drive, frame, until, wait_for_text
from tests.screens.wizard.data.page import FILE, draft_of
from tests.screens.wizard.data.reports import show_rows

LINES = range(2, 4002, 4)


class Shower:
    """A fake ``subprocesses.run_command`` for ``show``, which waits until it is released."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.calls = 0

    async def __call__(self, *argv: str, progress: str | None = None) -> Any:
        self.calls += 1
        await self.released.wait()
        return show_rows(*argv)


@pytest.fixture
def shower(monkeypatch: pytest.MonkeyPatch) -> Shower:
    double = Shower()
    monkeypatch.setattr(subprocesses, "run_command", double)
    return double


def play_on_rows(scenario: Callable[[Pilot[Any], Menu], Any]) -> str:
    async def play(pilot: Pilot[Any]) -> None:
        plan = draft_of().plan
        page = RowsPage(RowSelection(Text("rows"), FILE, LINES, plan, "trl-sft"))
        pilot.app.push_screen(page)
        await until(pilot, lambda: page.is_mounted and page.query_one(Menu).size.height > 0)
        await scenario(pilot, page.query_one(Menu))

    return drive(FtwizardApp(), (80, 24), play)


def test_rows_around_the_cursor_are_read_together(shower: Shower) -> None:
    shower.released.set()

    async def scenario(pilot: Pilot[Any], menu: Menu) -> None:
        await wait_for_text(pilot, "row 2")
        calls = shower.calls
        await pilot.press("end")
        await wait_for_text(pilot, f"row {LINES[-1]:,}")
        shown = [line[:34].split() for line in frame(pilot.app).split("\n")[5:22]]
        assert all(len(words) > 1 for words in shown), "no row in view is left blank"
        for _ in range(rows.BATCH // 4):
            await pilot.press("up")
        await wait_for_text(pilot, f"row {LINES[-1 - rows.BATCH // 4]:,}")
        assert shower.calls - calls == 1, "not one for each row on the way up"

    play_on_rows(scenario)


def test_a_row_that_takes_long_says_how_long(shower: Shower) -> None:
    async def scenario(pilot: Pilot[Any], menu: Menu) -> None:
        await wait_for_text(pilot, "reading the row …  2 s")
        shower.released.set()
        await until(pilot, lambda: "reading the row" not in frame(pilot.app))

    play_on_rows(scenario)
