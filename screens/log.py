"""The end of a run's log, whole screen."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from ftwizard.follow import Follower
from ftwizard.screens.page import Page
from ftwizard.screens.widgets.menu import Line, Menu
from ftwizard.text import visible

LINES = 500


class Log(Page[None]):
    """What the command and its libraries said, the newest last."""

    NAME = "Output"
    HELP = (
        "The end of worker.log in the run's folder: what the training and its libraries said. "
        "Arrows and page keys scroll; end follows what is new."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll(-1)", "up", key_display="↑"),
        Binding("down,j", "scroll(1)", "down", key_display="↓"),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("home", "end(-1)", "oldest", show=False),
        Binding("end", "end(1)", "newest", key_display="end"),
    ]

    def __init__(self, follower: Follower) -> None:
        super().__init__()
        self._follower = follower

    def body(self) -> ComposeResult:
        menu = Menu(id="lines")
        menu.can_focus = False  # nothing is chosen: its keys would hide those that scroll
        yield menu

    def on_mount(self) -> None:
        self.set_interval(1.0, self._look)
        self._look()
        self.call_after_refresh(self.action_end, 1)

    def _look(self) -> None:
        menu = self.query_one(Menu)
        follows = menu.scroll_offset.y >= menu.max_scroll_y
        said = self._follower.log(LINES) or [
            "Nothing: the training and its libraries had no more to say than the monitor shows."
        ]
        menu.show([Line(Text(visible(line, 1000), no_wrap=True)) for line in said])
        if follows:
            menu.scroll_end(animate=False)

    def action_scroll(self, by: int) -> None:
        self.query_one(Menu).scroll_relative(y=by, animate=False)

    def action_page(self, by: int) -> None:
        self.action_scroll(by * max(1, self.query_one(Menu).size.height - 1))

    def action_end(self, way: int) -> None:
        menu = self.query_one(Menu)
        menu.scroll_home(animate=False) if way < 0 else menu.scroll_end(animate=False)
