"""App that sends its frames to the terminal as differences, and its screens.

Both adapt Textual's private methods.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from textual import events
from textual._compositor import CompositorUpdate
from textual._context import active_message_pump
from textual.app import App
from textual.dom import DOMNode
from textual.filter import LineFilter
from textual.message import Message
from textual.message_pump import MessagePump
from textual.screen import Screen, ScreenResultType
from textual.widget import Widget
from textual.widgets import Input, TextArea

from ftwizard import word_wrap
from ftwizard.screens.terminal import driver
from ftwizard.screens.terminal.driver import OutputSanitizer, TerminalDriver
from ftwizard.screens.terminal.frame_diff import FrameDiff

TERMINAL_CHECK_S = 0.5
KEY_CHECK_S = 0.3
"""Interval at which keys that wait check whether the one before them can still be handled."""
MAX_KEY_CHECKS = 10
"""Checks after which keys wait no longer: a page may be busy, or the message lost."""
_FOCUS_KEYS = ("down", "up", "tab", "shift+tab")
_URGENT_KEY = "ctrl+q"


class _KeyUnderWay(NamedTuple):
    """The newest key that others wait for."""

    widget: Widget
    """Where it began."""
    follower: Message
    """Posted right behind it."""


class TerminalScreen(Screen[ScreenResultType]):
    """A screen that never calls a removed widget.

    Whatever waits for a refresh (``call_after_refresh``) is called by the screen that is current by
    then. On a busy machine that is the next screen, and the one that waits has lost its widgets.
    """

    def _invoke_later(self, callback: Callable[[], Any], sender: MessagePump) -> None:
        waiting = active_message_pump.get()  # the sender may be another, such as the app

        def call_unless_removed() -> Any:
            is_removed = isinstance(waiting, DOMNode) and waiting._pruning
            return None if is_removed else callback()

        super()._invoke_later(call_unless_removed, sender)


class TerminalApp(App[int]):
    """Holds frames back on a slow connection, and exits when the terminal is gone.

    Text is entered key by key. Textual gives a key to the focused widget at once, but acts on a key
    that this one has no use for, such as backspace or down, only when it has passed all widgets
    around it. Of several keys that arrive together, as from a slow connection, later letters would
    be typed before an earlier backspace, and into the field that an earlier down leaves.
    """

    class KeyHandled(Message):
        """A key has passed the focused widget and all around it: posted right behind it."""

    def __init__(self, *, ascii: bool, slow: bool) -> None:
        super().__init__(driver_class=TerminalDriver)
        self.animation_level = "none"  # a held key outruns it
        word_wrap.keep_units_with_numbers()
        self.ascii = ascii
        self.slow = False
        """Whether to send as little as possible: requested, or the connection is slow."""
        self._slow_requested = slow
        self._key_under_way: _KeyUnderWay | None = None
        self._waiting_input: deque[events.Key | events.Paste] = deque()
        self._frame_diff = FrameDiff()
        self._sanitizer = OutputSanitizer(ascii=ascii, color=not self.no_color)

    def show_slow(self) -> None:
        """Show a change of ``slow``."""

    def report_crash(self, error: BaseException | None) -> None:
        """Report the error that ends the app."""

    def crash(self, error: Exception) -> None:
        """End the app as an unhandled exception does."""
        self._handle_exception(error)

    def start_terminal(self) -> None:
        """Begin to watch the terminal; call it when the app is mounted."""
        # Textual redraws only changes, but the terminal has lost everything.
        self.app_resume_signal.subscribe(self, lambda _: self._redraw())
        self._set_slow(self._slow_requested)
        if self.is_headless:
            return
        if isinstance(self._driver, TerminalDriver):
            self._driver.on_room = self._send_pending
        self.set_interval(TERMINAL_CHECK_S, self._check_terminal)

    def action_suspend_process(self) -> None:
        """Suspend until the shell's ``fg``; without a shell, nothing would ever resume the app."""
        if driver.has_shell():
            super().action_suspend_process()
        else:
            self.notify(
                "Cannot suspend: no shell to return to. Press ctrl+q to quit.", markup=False
            )

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Resize):
            self._frame_diff.forget()  # terminals keep, move or lose content on resize
        if not isinstance(event, events.Key | events.Paste) or event.is_forwarded:
            await super().on_event(event)
            return
        key = event.key if isinstance(event, events.Key) else None
        if self._must_wait and key != _URGENT_KEY:
            self._waiting_input.append(event)
            if len(self._waiting_input) == 1:
                self._check_later(self._key_under_way)
            return
        widget = self.focused if self.screen_stack else None
        await super().on_event(event)
        if widget is None or not event.is_forwarded:
            return
        # A list acts on up and down itself, and shows only the last of many.
        moves_focus = key in _FOCUS_KEYS and key not in widget._bindings.key_to_bindings
        if isinstance(widget, Input | TextArea) or moves_focus:
            follower = self.KeyHandled()
            posted = widget.post_message(follower)
            self._key_under_way = _KeyUnderWay(widget, follower) if posted else None

    @property
    def _must_wait(self) -> bool:
        """Whether a key waits for the one before it."""
        under_way = self._key_under_way
        return bool(self._waiting_input) or (under_way is not None and under_way.widget.is_attached)

    async def on_terminal_app_key_handled(self, event: KeyHandled) -> None:
        if self._key_under_way and self._key_under_way.follower is event:
            await self._stop_waiting()

    async def _stop_waiting(self) -> None:
        """Deliver the keys that wait, up to the next one that others have to wait for."""
        self._key_under_way = None
        waiting, self._waiting_input = self._waiting_input, deque()
        while waiting and not self._must_wait:
            await self.on_event(waiting.popleft())
        if waiting:
            self._waiting_input.extend(waiting)
            self._check_later(self._key_under_way)

    def _check_later(self, under_way: _KeyUnderWay | None, checks: int = 0) -> None:
        self.set_timer(KEY_CHECK_S, partial(self._check_key, under_way, checks))

    async def _check_key(self, under_way: _KeyUnderWay | None, checks: int) -> None:
        """Stop waiting if the widget of the key is gone, behind another screen, or takes too long."""
        if under_way is not self._key_under_way:
            return  # that key was handled, and others wait for a newer one
        widget = under_way.widget if under_way else None
        is_shown = widget and widget.is_attached and widget.screen in self.screen_stack[-1:]
        if is_shown and checks < MAX_KEY_CHECKS:
            self._check_later(under_way, checks + 1)
        else:
            await self._stop_waiting()

    def get_line_filters(self) -> Sequence[LineFilter]:
        return [*super().get_line_filters(), self._sanitizer]

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        """Send the cells that changed, once the terminal has received the previous frame."""
        output = self._driver
        if isinstance(renderable, CompositorUpdate) and isinstance(output, TerminalDriver):
            if renderable is not self._frame_diff:
                self._frame_diff.take(renderable, self.size, self.console)
            fits = self._frame_diff.size == self.size  # otherwise a new layout follows shortly
            has_room = output.link.has_room(time.monotonic())  # always: it also drops lost queries
            ready = has_room and fits and self._frame_diff.differs
            renderable = self._frame_diff if ready else None
        super()._display(screen, renderable)

    def _send_pending(self) -> None:
        """Send what was held back, and update whether the connection is slow."""
        if not self._running or not self.screen_stack:
            return
        self._display(self.screen, self._frame_diff)
        link = self._driver.link if isinstance(self._driver, TerminalDriver) else None
        self._set_slow(self._slow_requested or (link is not None and link.is_slow))

    def _set_slow(self, slow: bool) -> None:
        if slow == self.slow:
            return
        self.slow = slow
        self.set_class(slow, "-slow")
        self.show_slow()

    def _check_terminal(self) -> None:
        if isinstance(self._driver, TerminalDriver) and self._driver.is_gone:
            self.exit()
        self._send_pending()

    def _redraw(self) -> None:
        self._frame_diff.forget()
        self.screen.refresh(layout=True)

    def _handle_exception(self, error: Exception) -> None:
        # A screen that was still being built when the app exited lacks some of its widgets.
        if not self._exit:
            super()._handle_exception(error)

    def _fatal_error(self) -> None:
        """Report the crash: a traceback with locals does not belong on the terminal."""
        self.report_crash(self._exception)
        self._close_messages_no_wait()
