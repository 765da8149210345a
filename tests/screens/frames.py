"""Screens as text: drive an app without a terminal, and compare what it shows with stored frames."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from textual.app import App
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input

WAIT_S = 120.0
LOOK_EVERY_S = 0.05
MOST_LOOKS = 40
"""At a screen that never stands still."""
FOLDER = Path(__file__).parent / "frames"

Scenario = Callable[[Pilot[Any]], Awaitable[None]]


def frame(app: App[Any]) -> str:
    """Return what the app shows, one line a row, without the blanks at the ends of rows."""
    # Textual has no public way to ask for the text of the screen.
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


def drive(app: App[Any], size: tuple[int, int], scenario: Scenario | None = None) -> str:
    """Run the app at ``size`` = (columns, rows), play the scenario, return the last frame."""

    async def play() -> str:
        async with app.run_test(size=size, notifications=True) as pilot:
            await pilot.pause()
            if scenario is not None:
                await scenario(pilot)
            return await still(pilot)

    return asyncio.run(play())


async def still(pilot: Pilot[Any]) -> str:
    """Return the frame once it stays the same: what keys do comes in several steps."""
    await pilot.pause()
    shown, before = frame(pilot.app), ""
    for _ in range(MOST_LOOKS):
        if shown == before:
            break
        await pilot.pause(LOOK_EVERY_S)
        shown, before = frame(pilot.app), shown
    return shown


async def asked(pilot: Pilot[Any], page: type[Screen[Any]]) -> None:
    """Wait until a page is there and takes what is typed."""
    await until(
        pilot,
        lambda: isinstance(pilot.app.screen, page) and isinstance(pilot.app.focused, Input),
    )


async def until(pilot: Pilot[Any], condition: Callable[[], bool]) -> None:
    """Wait until the app has come to a state; a busy machine is no failure."""
    for _ in range(int(WAIT_S / LOOK_EVERY_S)):
        if condition():
            await pilot.pause()
            return
        await pilot.pause(LOOK_EVERY_S)
    raise AssertionError(f"not reached:\n{frame(pilot.app)}")


async def says(pilot: Pilot[Any], words: str) -> None:
    """Wait until the app shows ``words``."""
    await until(pilot, lambda: words in frame(pilot.app))


def assert_frame(name: str, got: str) -> None:
    """Compare with the stored frame; FTWIZARD_REWRITE_FRAMES=1 stores what was got instead."""
    path = FOLDER / f"{name}.txt"
    if os.environ.get("FTWIZARD_REWRITE_FRAMES"):
        path.write_text(got + "\n", encoding="utf-8")
    assert got + "\n" == path.read_text(encoding="utf-8"), f"not as in {path.name}"
