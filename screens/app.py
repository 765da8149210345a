"""The app: theme, keys that work everywhere, and an orderly end."""

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

from ftwizard.errors import FtwizardError
from ftwizard.screens import crash, glyphs, palette, terminal
from ftwizard.screens.home import Home
from ftwizard.screens.page import MIN_COLUMNS, MIN_ROWS, Page
from ftwizard.screens.picture import Picture

TERMINAL_CHECK_S = 0.5
FREEZE_AFTER_S = 1.0
"""By then what a first screen needs is loaded."""
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
        Binding("ctrl+z", "suspend_process", "suspend", show=False, priority=True),
    ]

    def __init__(
        self, route: tuple[str, str] | None = None, *, ascii: bool = False, slow: bool = False
    ) -> None:
        super().__init__(driver_class=terminal.Driver)
        self.ascii = ascii
        self.slow = False
        """Whether as little as possible is sent: asked for, or since the line takes no more."""
        self._asked_slow = slow
        self.farewell: list[str] = []
        """Lines to leave on the terminal when the app has gone."""
        self.shown_last = ""
        """The run that was shown last; home points at it."""
        self.code = 0
        """What a route answers with if it is left now."""
        self._route = route
        self._picture = Picture()
        self._wall = terminal.Wall(ascii=ascii, colour=not self.no_color)
        self.register_theme(THEME)
        self.theme = THEME.name

    def get_default_screen(self) -> Screen[Any]:
        return Screen() if self._route else Home()

    def begin(self, what: str, name: str = "") -> None:
        """Take a route of ``flow.ROUTES``; home is below it.

        Between two of its screens home has the keys for a moment: they begin nothing else then.
        """
        if any(one.group == "flow" and not one.is_finished for one in self.workers):
            return
        self.run_worker(self._take(what, name), group="flow", exclusive=True, exit_on_error=False)

    async def _take(self, what: str, name: str) -> None:
        from ftwizard.screens import flow

        try:
            code = await flow.follow(self, what, name)
        except Exception as error:
            if self._route:  # with nothing below it there is nothing to go back to
                self._handle_exception(error)
            raise
        if self._route:
            self.exit(code)
        else:
            self.farewell = []  # home lists every run: nothing is left to say

    async def action_quit(self) -> None:
        self.exit(self.code if self._route else 0)

    def action_suspend_process(self) -> None:
        """Stop until the shell's ``fg``; where there is none, nothing would ever go on again."""
        if terminal.has_shell():
            super().action_suspend_process()
        else:
            self.notify("There is no shell to go back to here; ctrl+q quits.", markup=False)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Offer what the keys of this screen do, and nothing that they do not."""
        for _, binding, enabled, _ in screen.active_bindings.values():
            if enabled and binding.show and binding.description:
                run = functools.partial(self.run_action, binding.action, screen)
                name = binding.description.capitalize()
                yield SystemCommand(name, f"the key {self.get_key_display(binding)}", run)

    async def on_event(self, event: events.Event) -> None:
        """Take no keys for a screen that cannot be seen, but for the way out."""
        if isinstance(event, events.Resize):
            self._picture.forget()  # terminals keep, move or lose what they showed
        typed = isinstance(event, events.Key | events.Paste)
        if not typed or not self._is_too_small or getattr(event, "key", "") == "ctrl+q":
            await super().on_event(event)

    @property
    def _is_too_small(self) -> bool:
        return self.size.width < MIN_COLUMNS or self.size.height < MIN_ROWS

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        """Send what the terminal lacks of the newest state, once it has what was sent before."""
        driver = self._driver
        if isinstance(renderable, CompositorUpdate) and isinstance(driver, terminal.Driver):
            if renderable is not self._picture:
                self._picture.take(renderable, self.size, self.console)
            fits = self._picture.size == self.size  # else it is laid out anew in a moment
            room = driver.line.has_room(time.monotonic())  # asked in any case: it forgets, too
            ready = room and fits and self._picture.differs
            renderable = self._picture if ready else None
        super()._display(screen, renderable)

    def _go_on(self) -> None:
        """Send what was held back, and mind whether the line is slow."""
        if not self._running or not self.screen_stack:
            return
        self._display(self.screen, self._picture)
        line = self._driver.line if isinstance(self._driver, terminal.Driver) else None
        self._be_slow(self._asked_slow or (line is not None and line.is_slow))

    def _be_slow(self, slow: bool) -> None:
        if slow == self.slow:
            return
        self.slow = slow
        self.set_class(slow, "-slow")
        self.animation_level = "none" if slow else constants.TEXTUAL_ANIMATIONS
        for screen in self.screen_stack:
            if isinstance(screen, Page):
                screen.say_line()

    def get_line_filters(self) -> Sequence[LineFilter]:
        return [*super().get_line_filters(), self._wall]

    def on_mount(self) -> None:
        if self._route:
            self.begin(*self._route)
        # Textual draws only what changes, on a terminal that has lost everything.
        self.app_resume_signal.subscribe(self, lambda _: self._draw_anew())
        self._be_slow(self._asked_slow)
        if self.is_headless:
            return
        if isinstance(self._driver, terminal.Driver):
            self._driver.on_room = self._go_on
        self.set_interval(TERMINAL_CHECK_S, self._check_terminal)
        self.set_timer(FREEZE_AFTER_S, _collect_seldom)

    def _check_terminal(self) -> None:
        if isinstance(self._driver, terminal.Driver) and self._driver.is_gone:
            self.exit()
        self._go_on()

    def _draw_anew(self) -> None:
        self._picture.forget()
        self.screen.refresh(layout=True)

    def tell(self, error: BaseException) -> None:
        """Say what went wrong in a part of a screen; the rest goes on."""
        from ftwizard.screens.problem import Problem

        if not isinstance(error, FtwizardError):
            error = crash.told(error)
        self.push_screen(Problem(error))

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self.tell(event.worker.error)

    def _handle_exception(self, error: Exception) -> None:
        # A screen that was still being built when the app was left misses parts of itself.
        if not self._exit:
            super()._handle_exception(error)

    def _fatal_error(self) -> None:
        """Keep what happened in a file; a traceback (with locals) is nothing for a terminal."""
        where = crash.keep(self._exception)
        self.farewell = [
            f"ftwizard: the screens have failed; runs go on. {where}",
            "  Runs are listed by: ftwizard runs",
        ]
        self._close_messages_no_wait()


def _collect_seldom() -> None:
    """Keep the garbage collector from holding keys up: a look through everything takes 0.1 s."""
    gc.collect()
    gc.freeze()  # modules and style rules stay
    gc.set_threshold(10_000, 20, 50)


def open_app(
    route: tuple[str, str] | None = None, *, ascii: bool = False, slow: bool = False
) -> int:
    """Run the app in this terminal; return its exit code."""
    terminal.forget_exported_size()
    app = FtwizardApp(route, ascii=ascii or not glyphs.shows_unicode(), slow=slow)
    code = app.run(mouse=False)  # so that the terminal's own selection goes on working
    terminal.take_leave(app.farewell)
    return code if code is not None else app.return_code or 0
