"""The Textual app: theme, global keys and orderly shutdown."""

from __future__ import annotations

import asyncio
import functools
import gc
from collections.abc import Iterable
from importlib.resources import files
from typing import Any, ClassVar

from textual import events
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.theme import Theme
from textual.worker import Worker, WorkerState

from ftwizard.screens import crash_log, palette
from ftwizard.screens.dialogs.dialog import show_error
from ftwizard.screens.home.page import HomePage
from ftwizard.screens.page import MIN_COLUMNS, MIN_ROWS, Page
from ftwizard.screens.session import Session
from ftwizard.screens.terminal import driver, glyphs
from ftwizard.screens.terminal.app import TerminalApp, TerminalScreen

FREEZE_AFTER_S = 1.0
"""By then everything that the first screen needs is loaded."""
BUILD_POLL_S = 0.01
MAX_BUILD_POLLS = 500
"""Polls for a page that is being built; a key then acts on it anyway."""
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


class FtwizardApp(TerminalApp):
    """Shows home, or only ``route`` (name and argument): the app exits when the route ends."""

    CSS_PATH = str(files("ftwizard").joinpath("assets", "ftwizard.tcss"))
    TITLE = "ftwizard"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "ctrl+q",
            "quit",
            "quit",
            key_display="^q",
            priority=True,
            tooltip="quit; runs keep running",
        ),
        Binding(
            "ctrl+z",
            "suspend_process",
            "suspend",
            show=False,
            priority=True,
            tooltip="suspend, back to the shell",
        ),
    ]

    def __init__(
        self, route: tuple[str, str] | None = None, *, ascii: bool = False, slow: bool = False
    ) -> None:
        super().__init__(ascii=ascii, slow=slow)
        self.session = Session()
        self._route = route
        self.register_theme(THEME)
        self.theme = THEME.name

    def get_default_screen(self) -> Screen[Any]:
        return TerminalScreen() if self._route else HomePage(self.session, self.start_route)

    def start_route(self, route: str, argument: str = "") -> None:
        """Start a route of ``navigation.ROUTES`` on top of home.

        Home gets the keys for a moment between two screens of a route; they start nothing else then.
        """
        if any(worker.group == "flow" and not worker.is_finished for worker in self.workers):
            return
        coroutine = self._follow(route, argument)
        self.run_worker(coroutine, group="flow", exclusive=True, exit_on_error=False)

    async def _follow(self, route: str, argument: str) -> None:
        from ftwizard.screens import navigation

        try:
            code = await navigation.follow_route(self, self.session, route, argument)
        except Exception as error:
            if self._route:  # there is no screen below to go back to
                self.crash(error)
            raise
        if self._route:
            self.exit(code)
        else:
            self.session.farewell = []  # home already lists every run

    async def action_quit(self) -> None:
        self.exit(self.session.code if self._route else 0)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Offer exactly the actions that have a key on this screen."""
        for _, binding, enabled, _ in screen.active_bindings.values():
            if enabled and binding.show and binding.description:
                run = functools.partial(self.run_action, binding.action, screen)
                name = binding.description.capitalize()
                yield SystemCommand(name, f"key: {self.get_key_display(binding)}", run)

    async def on_event(self, event: events.Event) -> None:
        """Ignore keys while the window is too small, except ctrl+q; keep them until a page is built."""
        is_input = isinstance(event, events.Key | events.Paste)
        if is_input and self._is_too_small and getattr(event, "key", "") != "ctrl+q":
            return
        if is_input:
            await self._wait_for_page()
        await super().on_event(event)

    async def _wait_for_page(self) -> None:
        """Wait until the top screen has its widgets: its keys use them."""
        for _ in range(MAX_BUILD_POLLS):
            if not self.screen_stack or self.screen.is_mounted:
                return
            await asyncio.sleep(BUILD_POLL_S)

    @property
    def _is_too_small(self) -> bool:
        return self.size.width < MIN_COLUMNS or self.size.height < MIN_ROWS

    def on_mount(self) -> None:
        if self._route:
            self.start_route(*self._route)
        self.start_terminal()
        if not self.is_headless:
            self.set_timer(FREEZE_AFTER_S, _tune_garbage_collector)

    def show_slow(self) -> None:
        for screen in self.screen_stack:
            if isinstance(screen, Page):
                screen.refresh_top_line()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            show_error(self, event.worker.error)

    def report_crash(self, error: BaseException | None) -> None:
        self.session.farewell = [
            f"ftwizard: the interface crashed; runs keep running. {crash_log.save_report(error)}",
            "  List your runs: ftwizard runs",
        ]


def _tune_garbage_collector() -> None:
    """Keep the garbage collector from delaying keys: a full collection takes 0.1 s."""
    gc.collect()
    gc.freeze()  # modules and style rules are never freed
    gc.set_threshold(10_000, 20, 50)


def open_app(
    route: tuple[str, str] | None = None, *, ascii: bool = False, slow: bool = False
) -> int:
    """Run the app in this terminal; return its exit code."""
    driver.forget_exported_size()
    app = FtwizardApp(route, ascii=ascii or not glyphs.supports_unicode(), slow=slow)
    code = app.run(mouse=False)  # keeps the terminal's own text selection working
    driver.print_farewell(app.session.farewell)
    return code if code is not None else app.return_code or 0
