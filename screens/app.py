"""The Textual app: theme, global keys and orderly shutdown."""

from __future__ import annotations

import functools
import gc
import time
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any, ClassVar

from textual import constants, events
from textual._compositor import CompositorUpdate
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.filter import LineFilter
from textual.screen import Screen
from textual.theme import Theme
from textual.worker import Worker, WorkerState

from ftwizard.screens import crash_log, palette
from ftwizard.screens.dialogs.error import show_error
from ftwizard.screens.home.page import HomePage
from ftwizard.screens.page import MIN_COLUMNS, MIN_ROWS, Page
from ftwizard.screens.session import Session
from ftwizard.screens.terminal import driver as terminal
from ftwizard.screens.terminal import glyphs
from ftwizard.screens.terminal.frame_diff import FrameDiff

TERMINAL_CHECK_S = 0.5
FREEZE_AFTER_S = 1.0
"""By then everything that the first screen needs is loaded."""
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
    """Shows home, or only ``route`` (name and argument): the app exits when the route ends."""

    CSS_PATH = str(files("ftwizard").joinpath("assets", "ftwizard.tcss"))
    TITLE = "ftwizard"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "quit", key_display="^q", priority=True),
        Binding("ctrl+z", "suspend_process", "suspend", show=False, priority=True),
    ]

    def __init__(
        self, route: tuple[str, str] | None = None, *, ascii: bool = False, slow: bool = False
    ) -> None:
        super().__init__(driver_class=terminal.TerminalDriver)
        self.ascii = ascii
        self.slow = False
        """Whether to send as little as possible: requested, or the connection is slow."""
        self._slow_requested = slow
        self.session = Session()
        self._route = route
        self._frame_diff = FrameDiff()
        self._sanitizer = terminal.OutputSanitizer(ascii=ascii, color=not self.no_color)
        self.register_theme(THEME)
        self.theme = THEME.name

    def get_default_screen(self) -> Screen[Any]:
        return Screen() if self._route else HomePage(self.session, self.start_route)

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
                self._handle_exception(error)
            raise
        if self._route:
            self.exit(code)
        else:
            self.session.farewell = []  # home already lists every run

    async def action_quit(self) -> None:
        self.exit(self.session.code if self._route else 0)

    def action_suspend_process(self) -> None:
        """Suspend until the shell's ``fg``; without a shell, nothing would ever resume the app."""
        if terminal.has_shell():
            super().action_suspend_process()
        else:
            self.notify(
                "Cannot suspend: no shell to return to. Press ctrl+q to quit.", markup=False
            )

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Offer exactly the actions that have a key on this screen."""
        for _, binding, enabled, _ in screen.active_bindings.values():
            if enabled and binding.show and binding.description:
                run = functools.partial(self.run_action, binding.action, screen)
                name = binding.description.capitalize()
                yield SystemCommand(name, f"key: {self.get_key_display(binding)}", run)

    async def on_event(self, event: events.Event) -> None:
        """Ignore keys while the window is too small, except ctrl+q."""
        if isinstance(event, events.Resize):
            self._frame_diff.forget()  # terminals keep, move or lose content on resize
        is_input = isinstance(event, events.Key | events.Paste)
        if not is_input or not self._is_too_small or getattr(event, "key", "") == "ctrl+q":
            await super().on_event(event)

    @property
    def _is_too_small(self) -> bool:
        return self.size.width < MIN_COLUMNS or self.size.height < MIN_ROWS

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        """Send the cells that changed, once the terminal has received the previous frame."""
        driver = self._driver
        if isinstance(renderable, CompositorUpdate) and isinstance(driver, terminal.TerminalDriver):
            if renderable is not self._frame_diff:
                self._frame_diff.take(renderable, self.size, self.console)
            fits = self._frame_diff.size == self.size  # otherwise a new layout follows shortly
            has_room = driver.link.has_room(time.monotonic())  # always: it also drops lost queries
            ready = has_room and fits and self._frame_diff.differs
            renderable = self._frame_diff if ready else None
        super()._display(screen, renderable)

    def _send_pending(self) -> None:
        """Send what was held back, and update whether the connection is slow."""
        if not self._running or not self.screen_stack:
            return
        self._display(self.screen, self._frame_diff)
        link = self._driver.link if isinstance(self._driver, terminal.TerminalDriver) else None
        self._set_slow(self._slow_requested or (link is not None and link.is_slow))

    def _set_slow(self, slow: bool) -> None:
        if slow == self.slow:
            return
        self.slow = slow
        self.set_class(slow, "-slow")
        self.animation_level = "none" if slow else constants.TEXTUAL_ANIMATIONS
        for screen in self.screen_stack:
            if isinstance(screen, Page):
                screen.refresh_top_line()

    def get_line_filters(self) -> Sequence[LineFilter]:
        return [*super().get_line_filters(), self._sanitizer]

    def on_mount(self) -> None:
        if self._route:
            self.start_route(*self._route)
        # Textual redraws only changes, but the terminal has lost everything.
        self.app_resume_signal.subscribe(self, lambda _: self._redraw())
        self._set_slow(self._slow_requested)
        if self.is_headless:
            return
        if isinstance(self._driver, terminal.TerminalDriver):
            self._driver.on_room = self._send_pending
        self.set_interval(TERMINAL_CHECK_S, self._check_terminal)
        self.set_timer(FREEZE_AFTER_S, _tune_garbage_collector)

    def _check_terminal(self) -> None:
        if isinstance(self._driver, terminal.TerminalDriver) and self._driver.is_gone:
            self.exit()
        self._send_pending()

    def _redraw(self) -> None:
        self._frame_diff.forget()
        self.screen.refresh(layout=True)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            show_error(self, event.worker.error)

    def _handle_exception(self, error: Exception) -> None:
        # A screen that was still being built when the app exited lacks some of its widgets.
        if not self._exit:
            super()._handle_exception(error)

    def _fatal_error(self) -> None:
        """Write a crash report; a traceback with locals does not belong on the terminal."""
        report = crash_log.save_report(self._exception)
        self.session.farewell = [
            f"ftwizard: the interface crashed; runs keep running. {report}",
            "  List your runs: ftwizard runs",
        ]
        self._close_messages_no_wait()


def _tune_garbage_collector() -> None:
    """Keep the garbage collector from delaying keys: a full collection takes 0.1 s."""
    gc.collect()
    gc.freeze()  # modules and style rules are never freed
    gc.set_threshold(10_000, 20, 50)


def open_app(
    route: tuple[str, str] | None = None, *, ascii: bool = False, slow: bool = False
) -> int:
    """Run the app in this terminal; return its exit code."""
    terminal.forget_exported_size()
    app = FtwizardApp(route, ascii=ascii or not glyphs.supports_unicode(), slow=slow)
    code = app.run(mouse=False)  # keeps the terminal's own text selection working
    terminal.print_farewell(app.session.farewell)
    return code if code is not None else app.return_code or 0
