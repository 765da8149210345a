"""Pages with scrolling lines: their base class, and the tail of a run's log."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from ftwizard.runs.follower import Follower
from ftwizard.screens.page import Page
from ftwizard.screens.widgets.menu import Menu, MenuLine
from ftwizard.text import make_visible

MAX_LINES = 500
"""Lines shown of a log."""


class ScrollingPage(Page[None]):
    """Shows lines of a run; its keys scroll them without a cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll(-1)", "up", key_display="↑", tooltip="scroll"),
        Binding("down,j", "scroll(1)", "down", key_display="↓", tooltip="scroll"),
        Binding("pageup", "page(-1)", "page up", show=False, tooltip="scroll by a page"),
        Binding("pagedown", "page(1)", "page down", show=False, tooltip="scroll by a page"),
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


class LogPage(ScrollingPage):
    """Shows the output of the training process, newest line last."""

    NAME = "Output"
    NOTES = ("The last lines of worker.log in the run folder.",)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("home", "end(-1)", "oldest", show=False, tooltip="oldest line"),
        Binding("end", "end(1)", "newest", key_display="end", tooltip="newest line, and follow"),
    ]

    def on_mount(self) -> None:
        self.set_interval(1.0, self._show)
        self._show()
        self.call_after_refresh(self.action_end, 1)

    def _show(self) -> None:
        menu = self._menu
        is_at_end = menu.scroll_offset.y >= menu.max_scroll_y
        lines = self._follower.log(MAX_LINES) or ["No output yet."]
        menu.show([MenuLine(Text(make_visible(line, 1000), no_wrap=True)) for line in lines])
        if is_at_end:
            menu.scroll_end(animate=False)

    def action_end(self, direction: int) -> None:
        menu = self._menu
        menu.scroll_home(animate=False) if direction < 0 else menu.scroll_end(animate=False)
