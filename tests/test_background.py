"""Background calls, and an app that stays responsive while they hang."""

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
    """Yield an event that threads wait for; set it after the test."""
    gate = threading.Event()
    yield gate
    gate.set()


def test_background_calls_return_results_and_raise_errors() -> None:
    assert asyncio.run(run_in_thread(divmod, 7, 2)) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(run_in_thread(divmod, 7, 0))
    assert call_with_timeout(60, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        call_with_timeout(60, divmod, 7, 0)


def test_event_loop_ends_while_a_thread_hangs(gate: threading.Event) -> None:
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


def test_hanging_suggestions_block_neither_keys_nor_exit(gate: threading.Event) -> None:
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
    assert not ended, "the app has ended while the threads still wait"


def test_wizard_exits_while_the_driver_hangs(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[bool] = []
    monkeypatch.setattr(machine, "read_machine_info", lambda: ended.append(gate.wait(100)))

    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("n", "ctrl+q")

    drive(FtwizardApp(), (80, 24), play)
    assert not ended
