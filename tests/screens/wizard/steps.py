"""The steps that several tests take through the wizard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual.pilot import Pilot
from textual.screen import Screen

from ftwizard.screens.widgets.choice import Choice
from ftwizard.screens.wizard.data.page import DataPage
from ftwizard.screens.wizard.provider.page import ProviderPage
from tests.screens.frames import says, until


async def on(pilot: Pilot[Any], page: type[Screen[Any]]) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, page))


async def to_data(pilot: Pilot[Any]) -> None:
    """Answer the path page so that training happens here."""
    await on(pilot, ProviderPage)
    pilot.app.screen.query_one("#answer-size", Choice).value = "tiny"
    await pilot.pause()
    await pilot.press("enter")
    await on(pilot, DataPage)


async def to_checked(pilot: Pilot[Any], file: Path) -> None:
    await to_data(pilot)
    await pilot.press(*str(file))
    await pilot.press("enter")
    await says(pilot, "rows, ")
