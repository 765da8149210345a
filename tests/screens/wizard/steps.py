"""Steps through the wizard that several tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual import events
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input

from ftwizard.screens.wizard.data.page import DataPage
from ftwizard.screens.wizard.provider.page import ProviderPage
from tests.screens.frames import until, wait_for_text


async def wait_for_page(pilot: Pilot[Any], page: type[Screen[Any]]) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, page))


async def open_data_page(pilot: Pilot[Any]) -> None:
    """Take the first page's suggestion, training on this machine, and open the data page."""
    await wait_for_page(pilot, ProviderPage)
    await pilot.press("enter")
    await wait_for_page(pilot, DataPage)


async def paste(pilot: Pilot[Any], path: Path) -> None:
    """Paste a path into the input: typed, each of its hundred characters draws the page."""
    await until(pilot, lambda: isinstance(pilot.app.focused, Input))
    pilot.app.post_message(events.Paste(str(path)))
    await until(pilot, lambda: getattr(pilot.app.focused, "value", "") == str(path))


async def read_data_file(pilot: Pilot[Any], file: Path) -> None:
    """Open the data page, enter a file and wait for its report."""
    await open_data_page(pilot)
    await paste(pilot, file)
    await pilot.press("enter")
    await wait_for_text(pilot, "rows, ")
