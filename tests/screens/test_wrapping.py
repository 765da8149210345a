"""Text that was wrapped for a pane is not wrapped again, whether the pane scrolls or not."""

from __future__ import annotations

from typing import Any

import pytest
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.pilot import Pilot

from ftwizard.screens import layout
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.page import Page
from ftwizard.screens.widgets.scroll_pane import TextPane
from tests.screens.frames import drive

MESSAGE = (
    "message 1 (user) contains a possible secret: GitHub token; replace it with a placeholder. "
)


class PanePage(Page[None]):
    NAME = "Pane"

    def body(self) -> ComposeResult:
        with Horizontal(id="columns"):
            yield TextPane(id="row")


@pytest.mark.parametrize("size", [(80, 24), (60, 16), (160, 50)])
@pytest.mark.parametrize("times", [1, 80])
def test_pane_shows_each_wrapped_line_on_a_line(size: tuple[int, int], times: int) -> None:
    lines: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await pilot.app.push_screen(PanePage())
        await pilot.pause()
        pane = pilot.app.screen.query_one(TextPane)
        wrapped = layout.wrap_hanging(Text(MESSAGE * times), 2, pane.visible_size[0])
        lines.extend(wrapped.plain.split("\n"))
        pane.show(wrapped)

    shown = [line.strip(" ▌█▁▂▃▄▅▆▇") for line in drive(FtwizardApp(), size, play).split("\n")]
    first = shown.index(lines[0].strip())
    count = min(len(lines), 10)
    assert shown[first : first + count] == [line.strip() for line in lines[:count]]
