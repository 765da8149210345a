"""A file system that has gone away holds up neither keys nor the end of the app."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input

from ftwizard.background import call_with_timeout, run_in_thread
from ftwizard.hardware import machine
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.widgets.file_input import FileInput
from tests.screens.frames import drive, until


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Give what a thread waits for; it goes on when the test is over."""
    gate = threading.Event()
    yield gate
    gate.set()


def test_a_result_and_an_error_come_back() -> None:
    assert asyncio.run(run_in_thread(divmod, 7, 2)) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(run_in_thread(divmod, 7, 0))
    assert call_with_timeout(60, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        call_with_timeout(60, divmod, 7, 0)


def test_a_loop_ends_while_a_thread_hangs(gate: threading.Event) -> None:
    ended: list[bool] = []

    def hang() -> None:
        ended.append(gate.wait(100))

    async def begin() -> None:
        asyncio.get_running_loop().create_task(run_in_thread(hang))
        await asyncio.sleep(0.05)

    asyncio.run(begin())
    assert not ended
    with pytest.raises(TimeoutError):
        call_with_timeout(0.05, hang)


def test_a_folder_that_never_answers_takes_no_key_and_no_way_out(gate: threading.Event) -> None:
    ended: list[bool] = []

    def suggest(text: str) -> list[tuple[str, str, str]]:
        ended.append(gate.wait(100))
        return []

    class Page(Screen[None]):
        def compose(self) -> Any:
            yield FileInput("", suggest, hint="")
            yield Input(id="other")

    async def play(pilot: Pilot[Any]) -> None:
        page = Page()
        pilot.app.push_screen(page)
        await until(pilot, lambda: pilot.app.screen is page and page.focused is not None)
        await pilot.press(*"/mnt", "tab", "x")
        await until(pilot, lambda: page.query_one("#other", Input).value == "x")
        assert page.query_one(FileInput).value == "/mnt"

    drive(FtwizardApp(), (80, 24), play)
    assert not ended, "the app has ended, the threads wait on"


def test_the_wizard_is_left_while_the_driver_hangs(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[bool] = []
    monkeypatch.setattr(machine, "read_machine_info", lambda: ended.append(gate.wait(100)))

    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("n", "ctrl+q")

    drive(FtwizardApp(), (80, 24), play)
    assert not ended
