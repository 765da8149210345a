"""The app: theme, keys that work everywhere, and an orderly end."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.filter import LineFilter
from textual.screen import Screen
from textual.theme import Theme

from ftwizard import settings
from ftwizard.screens import glyphs, palette, terminal
from ftwizard.screens.home import Home
from ftwizard.text import visible_lines

TERMINAL_CHECK_S = 0.5
# Okabe and Ito's palette, lightened where it must stand on a dark ground.
THEME = Theme(
    name="ftwizard",
    primary=palette.ACCENT,
    accent=palette.ACCENT,
    secondary=palette.ACCENT,
    warning=palette.WARNING,
    error=palette.BAD,
    success=palette.GOOD,
    foreground=palette.TEXT,
    background=palette.GROUND,
    surface=palette.RAISED,
    panel=palette.LINE,
    dark=True,
)


class FtwizardApp(App[int]):
    """Home, or with ``route`` (what and its name) that alone: at its end the app leaves."""

    CSS_PATH = str(files("ftwizard").joinpath("assets", "ftwizard.tcss"))
    TITLE = "ftwizard"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "quit", key_display="^q", priority=True),
    ]

    def __init__(self, route: tuple[str, str] | None = None, *, ascii: bool = False) -> None:
        super().__init__(driver_class=terminal.Driver)
        self.ascii = ascii
        self.farewell: list[str] = []
        """Lines to leave on the terminal when the app has gone."""
        self._route = route
        self._wall = terminal.Wall(ascii=ascii)
        self.register_theme(THEME)
        self.theme = THEME.name

    def get_default_screen(self) -> Screen[Any]:
        return Screen() if self._route else Home()

    def begin(self, what: str, name: str = "") -> None:
        """Take a route of ``flow.ROUTES``; home is below it."""
        self.run_worker(self._take(what, name), group="flow", exclusive=True)

    async def _take(self, what: str, name: str) -> None:
        from ftwizard.screens import flow

        code = await flow.follow(self, what, name)
        if self._route:
            self.exit(code)
        else:
            self.farewell = []  # home lists every run: nothing is left to say

    def get_line_filters(self) -> Sequence[LineFilter]:
        return [*super().get_line_filters(), self._wall]

    def on_mount(self) -> None:
        if self._route:
            self.begin(*self._route)
        if self.is_headless:
            return
        self.set_interval(TERMINAL_CHECK_S, self._check_terminal)

    def _check_terminal(self) -> None:
        if isinstance(self._driver, terminal.Driver) and self._driver.is_gone:
            self.exit()

    def _handle_exception(self, error: Exception) -> None:
        # A screen that was still being built when the app was left misses parts of itself.
        if not self._exit:
            super()._handle_exception(error)

    def _fatal_error(self) -> None:
        """Keep what happened in a file; a traceback (with locals) is nothing for a terminal."""
        error = self._exception
        words = "".join(traceback.format_exception(error)) if error else "no exception"
        try:
            folder = settings.private_folder(settings.home() / "crashes")
            file = folder / f"{time.strftime('%Y%m%d-%H%M%S')}.txt"
            file.touch(mode=0o600)
            file.write_text(visible_lines(words))
            where = f"What happened is in {file}."
        except Exception:  # noqa: BLE001 (a full disk must not hide that something went wrong)
            where = f"{type(error).__name__}."
        self.farewell = [
            f"ftwizard: the screens have failed; runs go on. {where}",
            "  Runs are listed by: ftwizard runs",
        ]
        self._close_messages_no_wait()


def open_app(route: tuple[str, str] | None = None, *, ascii: bool = False) -> int:
    """Run the app in this terminal; return its exit code."""
    app = FtwizardApp(route, ascii=ascii or not glyphs.shows_unicode())
    code = app.run(mouse=False)  # so that the terminal's own selection goes on working
    terminal.take_leave(app.farewell)
    return code if code is not None else app.return_code or 0
