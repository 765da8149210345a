"""Base class of pages with scrolling lines."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from ftwizard.runs.follower import Follower
from ftwizard.screens.page import Page
from ftwizard.screens.widgets.menu import Menu


class ScrollingPage(Page[None]):
    """Shows lines of a run; its keys scroll them without a cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll(-1)", "up", key_display="↑"),
        Binding("down,j", "scroll(1)", "down", key_display="↓"),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
    ]

    def __init__(self, follower: Follower) -> None:
        super().__init__()
        self._follower = follower
        self._menu = Menu(id="lines")
        self._menu.can_focus = False  # its keys would override the scroll keys

    def body(self) -> ComposeResult:
        yield self._menu

    def action_scroll(self, by: int) -> None:
        self._menu.scroll_relative(y=by, animate=False)

    def action_page(self, by: int) -> None:
        self._menu.scroll_relative(y=by * max(1, self._menu.size.height - 1), animate=False)
