"""Screens as text: helpers that drive an app without a terminal and compare stored frames."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from textual.app import App
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input

WAIT_S = 120.0
POLL_S = 0.05
MAX_POLLS = 40
"""Limit for a screen that never stops changing."""
FOLDER = Path(__file__).parent / "frames"

Scenario = Callable[[Pilot[Any]], Awaitable[None]]


def frame(app: App[Any]) -> str:
    """Return the text on the screen, one line per row, without trailing blanks."""
    # Textual has no public API for the text of the screen.
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


def drive(app: App[Any], size: tuple[int, int], scenario: Scenario | None = None) -> str:
    """Run the app at ``size`` = (columns, rows), play the scenario and return the last frame."""

    async def play() -> str:
        async with app.run_test(size=size, notifications=True) as pilot:
            await pilot.pause()
            if scenario is not None:
                await scenario(pilot)
            return await wait_for_stable_frame(pilot)

    return asyncio.run(play())


async def wait_for_stable_frame(pilot: Pilot[Any]) -> str:
    """Return the frame once it no longer changes: a key can take several steps to act."""
    await pilot.pause()
    shown, before = frame(pilot.app), ""
    for _ in range(MAX_POLLS):
        if shown == before:
            break
        await pilot.pause(POLL_S)
        shown, before = frame(pilot.app), shown
    return shown


async def show_at_top(pilot: Pilot[Any], field: Widget) -> str:
    """Focus a field and scroll it to the top; return the frame.

    How far a focus alone scrolls depends on when the lines below the field were laid out.
    """
    await wait_for_stable_frame(pilot)
    field.focus()
    await wait_for_stable_frame(pilot)
    field.scroll_visible(animate=False, top=True, immediate=True)
    return await wait_for_stable_frame(pilot)


async def wait_for_input(pilot: Pilot[Any], page: type[Screen[Any]]) -> None:
    """Wait until a page is shown and one of its inputs has the focus."""
    await until(
        pilot,
        lambda: isinstance(pilot.app.screen, page) and isinstance(pilot.app.focused, Input),
    )


async def until(pilot: Pilot[Any], condition: Callable[[], bool]) -> None:
    """Wait until the condition holds, long enough for a busy machine."""
    for _ in range(int(WAIT_S / POLL_S)):
        if condition():
            await pilot.pause()
            return
        await pilot.pause(POLL_S)
    raise AssertionError(f"timed out; last frame:\n{frame(pilot.app)}")


async def wait_for_text(pilot: Pilot[Any], text: str) -> None:
    """Wait until the app shows ``text``."""
    await until(pilot, lambda: text in frame(pilot.app))


def assert_frame(name: str, got: str) -> None:
    """Compare with the stored frame; FTWIZARD_REWRITE_FRAMES=1 stores the new frame instead."""
    path = FOLDER / f"{name}.txt"
    if os.environ.get("FTWIZARD_REWRITE_FRAMES"):
        path.write_text(got + "\n", encoding="utf-8")
    assert got + "\n" == path.read_text(encoding="utf-8"), f"differs from {path.name}"
