"""The end of a run's log, whole screen."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType

from ftwizard.screens.scrolling import ScrollingPage
from ftwizard.screens.widgets.menu import Line
from ftwizard.text import visible

LINES = 500


class Log(ScrollingPage):
    """What the command and its libraries said, the newest last."""

    NAME = "Output"
    HELP = (
        "The end of worker.log in the run's folder: what the training and its libraries said. "
        "Arrows and page keys scroll; end follows what is new."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("home", "end(-1)", "oldest", show=False),
        Binding("end", "end(1)", "newest", key_display="end"),
    ]

    def on_mount(self) -> None:
        self.set_interval(1.0, self._look)
        self._look()
        self.call_after_refresh(self.action_end, 1)

    def _look(self) -> None:
        menu = self._menu
        follows = menu.scroll_offset.y >= menu.max_scroll_y
        said = self._follower.log(LINES) or [
            "Nothing: the training and its libraries had no more to say than the monitor shows."
        ]
        menu.show([Line(Text(visible(line, 1000), no_wrap=True)) for line in said])
        if follows:
            menu.scroll_end(animate=False)

    def action_end(self, way: int) -> None:
        menu = self._menu
        menu.scroll_home(animate=False) if way < 0 else menu.scroll_end(animate=False)
