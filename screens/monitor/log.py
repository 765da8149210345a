"""Full-screen tail of a run's log."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType

from ftwizard.screens.scroll_page import ScrollingPage
from ftwizard.screens.widgets.menu import MenuLine
from ftwizard.text import make_visible

MAX_LINES = 500


class LogPage(ScrollingPage):
    """Shows the output of the training process, newest line last."""

    NAME = "Output"
    HELP = (
        "The last lines of worker.log in the run folder: output of the training process. "
        "Use the arrow and page keys to scroll, and end to follow new output."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("home", "end(-1)", "oldest", show=False),
        Binding("end", "end(1)", "newest", key_display="end"),
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
