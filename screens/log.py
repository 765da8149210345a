"""The end of a run's log, whole screen."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from ftwizard import follow
from ftwizard.jobs.folder import JobFolder
from ftwizard.screens.page import Page
from ftwizard.screens.widgets.menu import Line, Menu
from ftwizard.text import visible

LINES = 500


class Log(Page[None]):
    """What the command and its libraries said, the newest last."""

    NAME = "Log"
    HELP = "The end of worker.log in the run's folder. Arrows scroll."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "scroll(-1)", "up", show=False),
        Binding("down", "scroll(1)", "down", show=False),
    ]

    def __init__(self, folder: JobFolder) -> None:
        super().__init__()
        self._folder = folder

    def body(self) -> ComposeResult:
        yield Menu(id="lines")

    def on_mount(self) -> None:
        self.query_one(Menu).focus()
        self.set_interval(1.0, self._look)
        self._look()

    def _look(self) -> None:
        menu = self.query_one(Menu)
        follows = menu.scroll_offset.y >= menu.max_scroll_y
        said = follow.Follower(self._folder).log(LINES) or ["Nothing yet."]
        menu.show([Line(Text(visible(line, 1000), no_wrap=True)) for line in said])
        if follows:
            menu.scroll_end(animate=False)

    def action_scroll(self, by: int) -> None:
        self.query_one(Menu).scroll_relative(y=by, animate=False)
