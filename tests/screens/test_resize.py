"""Terminal resizes that arrive faster than a screen is laid out."""

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

OLD_SIZE, NEW_SIZE = Size(100, 40), Size(90, 30)


class _ResizeRecorder:
    """A screen with text that fills the width, and a record of its resize events."""

    handled: list[Size]

    def on_resize(self, event: Resize) -> None:
        self.handled.append(event.size)
        self.call_after_refresh(self._fill)  # type: ignore[attr-defined]

    def _fill(self) -> None:
        self.query_one("#filled", Static).update("=" * self.size.width)  # type: ignore[attr-defined]


class _Page(_ResizeRecorder, Page[None]):
    def body(self) -> ComposeResult:
        yield Static(id="filled")


class _Dialog(_ResizeRecorder, Dialog[None]):
    def compose(self) -> ComposeResult:
        yield Static(id="filled")


class _Bare(App[None]):
    def get_default_screen(self) -> Screen[Any]:
        return Screen()


@pytest.mark.timeout(60)  # nothing else ends a screen that never stops resizing
@pytest.mark.parametrize("kind", [_Page, _Dialog])
def test_queued_resizes_end_at_the_newest_size(kind: type[_Page]) -> None:
    screen = kind()
    screen.handled = []

    async def resize_repeatedly(pilot: Pilot[Any]) -> None:
        app = pilot.app
        app.push_screen(screen)
        await pilot.resize_terminal(*OLD_SIZE)
        await pilot.pause(0.1)
        screen.handled.clear()
        app._size = NEW_SIZE  # the size of the terminal by the time the queue is handled
        for size in (OLD_SIZE, Size(95, 35), OLD_SIZE, NEW_SIZE):
            screen.post_message(Resize(size, size, size))
            screen.call_later(asyncio.sleep, 0)
        for _ in range(20):
            await pilot.pause(0.01)
        assert set(screen.handled) == {NEW_SIZE}
        assert len(screen.handled) <= 3
        assert screen.size == NEW_SIZE

    drive(_Bare(), (OLD_SIZE.width, OLD_SIZE.height), resize_repeatedly)
