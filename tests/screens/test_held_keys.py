"""Keys held down: each press scrolls, however many arrive between two refreshes."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.pilot import Pilot
from textual.widgets import Static

from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.dialogs.dialog import HelpDialog
from ftwizard.screens.page import Page
from ftwizard.screens.widgets.choice import Choice
from ftwizard.screens.widgets.menu import Menu, MenuLine
from ftwizard.screens.widgets.scroll_pane import ScrollPane, TextPane
from tests.screens.frames import drive, until
from tests.screens.test_typeahead import burst

LINES = 900
PRESSES = 60
SIZE = (80, 24)


class TextPage(Page[None]):
    """A long text, and keys of the page that scroll it by pages."""

    NOTES = tuple(f"help line {number}" for number in range(LINES))
    BINDINGS: ClassVar[list[BindingType]] = [Binding("n", "more(1)"), Binding("p", "more(-1)")]

    def body(self) -> ComposeResult:
        yield TextPane()

    def on_mount(self) -> None:
        pane = self.query_one(TextPane)
        pane.show(Text("\n".join(f"line {number}" for number in range(LINES))))
        pane.focus()

    def action_more(self, by: int) -> None:
        self.query_one(TextPane).scroll_pages(by)


def scroll(*keys: str) -> tuple[float, int]:
    """Return the first line shown after a burst of keys, and the height of the pane."""
    shown: list[tuple[float, int]] = []

    async def play(pilot: Pilot[Any]) -> None:
        page = TextPage()
        pilot.app.push_screen(page)
        await until(pilot, lambda: page.is_mounted and page.query_one(TextPane).max_scroll_y > 0)
        pane = page.query_one(TextPane)
        burst(pilot, *keys)
        await pilot.pause()
        shown.append((pane.scroll_y, pane.size.height))

    drive(FtwizardApp(), SIZE, play)
    return shown[0]


@pytest.mark.parametrize(("down", "up"), [("down", "up"), ("j", "k")])
def test_each_press_of_a_held_arrow_scrolls_a_line(down: str, up: str) -> None:
    top, _ = scroll(*[down] * PRESSES, *[up] * (PRESSES // 3))
    assert top == PRESSES - PRESSES // 3


@pytest.mark.parametrize(("down", "up", "shared"), [("pagedown", "pageup", 0), ("n", "p", 1)])
def test_each_press_of_a_held_page_key_scrolls_a_page(down: str, up: str, shared: int) -> None:
    top, height = scroll(*[down] * 12, *[up] * 5)
    assert top == (12 - 5) * (height - shared)


def test_end_and_home_are_there_at_once() -> None:
    top, height = scroll("end")
    assert top == LINES - height
    assert scroll("end", "home")[0] == 0


def test_held_key_scrolls_the_help() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        pilot.app.push_screen(TextPage())
        await pilot.pause()
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(pilot.app.screen, HelpDialog))
        box = pilot.app.screen.query_one(ScrollPane)
        burst(pilot, *["down"] * PRESSES)
        await pilot.pause()
        assert box.scroll_y == PRESSES

    drive(FtwizardApp(), SIZE, play)


def test_held_key_moves_through_a_menu_of_ten_thousand_lines() -> None:
    class MenuPage(Page[None]):
        def body(self) -> ComposeResult:
            yield Static(markup=False)
            yield Menu([MenuLine(Text(f"row {n}"), str(n)) for n in range(10_000)])

    async def play(pilot: Pilot[Any]) -> None:
        page = MenuPage()
        pilot.app.push_screen(page)
        await until(pilot, lambda: page.is_mounted and page.query_one(Menu).size.height > 0)
        menu = page.query_one(Menu)
        menu.focus()
        burst(pilot, *["down"] * PRESSES, *["pagedown"] * 3)
        await pilot.pause()
        assert menu.cursor == PRESSES + 3 * (menu.size.height - 1)
        assert menu.is_cursor_visible

    drive(FtwizardApp(), SIZE, play)


def test_slow_page_shows_only_the_last_of_many_presses() -> None:
    class SlowPage(Page[None]):
        def body(self) -> ComposeResult:
            yield Choice([(str(n), str(n)) for n in range(7)], "0")
            yield Menu([MenuLine(Text(f"row {n}"), str(n)) for n in range(900)])

        def on_choice_changed(self, event: Choice.Changed) -> None:
            handled.append(event.value)

        def on_menu_moved(self, event: Menu.Moved) -> None:
            handled.append(event.id)

    async def play(pilot: Pilot[Any]) -> None:
        page = SlowPage()
        pilot.app.push_screen(page)
        await until(pilot, lambda: page.is_mounted and page.query_one(Menu).size.height > 0)
        for widget, key, last in (
            (page.query_one(Choice), "right", str(PRESSES % 7)),
            (page.query_one(Menu), "down", str(PRESSES)),
        ):
            widget.focus()
            await pilot.pause()
            handled.clear()
            burst(pilot, *[key] * PRESSES)
            await pilot.pause()
            assert handled[-1] == last
            assert len(handled) < PRESSES / 4, handled

    handled: list[str] = []
    drive(FtwizardApp(), SIZE, play)
