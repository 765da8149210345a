"""A terminal that changes its size faster than a screen is laid out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.events import Resize
from textual.geometry import Size
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Static

from ftwizard.screens.dialogs.dialog import Dialog
from ftwizard.screens.page import Page
from tests.screens.frames import drive

OLDER, NOW = Size(100, 40), Size(90, 30)


class _Counted:
    """Something that is laid out after each size, as texts are that fill the width."""

    handled: list[Size]

    def on_resize(self, event: Resize) -> None:
        self.handled.append(event.size)
        self.call_after_refresh(self._fill)  # type: ignore[attr-defined]

    def _fill(self) -> None:
        self.query_one("#filled", Static).update("=" * self.size.width)  # type: ignore[attr-defined]


class _Page(_Counted, Page[None]):
    def body(self) -> ComposeResult:
        yield Static(id="filled")


class _Dialog(_Counted, Dialog[None]):
    def compose(self) -> ComposeResult:
        yield Static(id="filled")


class _Bare(App[None]):
    def get_default_screen(self) -> Screen[Any]:
        return Screen()


@pytest.mark.timeout(60)  # where a screen never comes to rest, nothing else ends this
@pytest.mark.parametrize("kind", [_Page, _Dialog])
def test_two_sizes_with_something_between_end_at_the_newer(kind: type[_Page]) -> None:
    screen = kind()
    screen.handled = []

    async def both(pilot: Pilot[Any]) -> None:
        app = pilot.app
        app.push_screen(screen)
        await pilot.resize_terminal(*OLDER)
        await pilot.pause(0.1)
        screen.handled.clear()
        app._size = NOW  # as the terminal is by the time that the queue is worked off
        for size in (OLDER, Size(95, 35), OLDER, NOW):
            screen.post_message(Resize(size, size, size))
            screen.call_later(asyncio.sleep, 0)
        for _ in range(20):
            await pilot.pause(0.01)
        assert set(screen.handled) == {NOW}
        assert len(screen.handled) <= 3
        assert screen.size == NOW

    drive(_Bare(), (OLDER.width, OLDER.height), both)
