"""Input for a file name with suggestions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input

from ftwizard import user_paths
from ftwizard.background import call_with_timeout, run_in_thread
from ftwizard.errors import FtwizardError
from ftwizard.screens.draft.suggestions import MAX_CHARACTERS, Suggest
from ftwizard.screens.widgets.menu import Menu, MenuLine
from ftwizard.screens.widgets.text_input import TextInput
from ftwizard.text import make_visible

MAX_SHOWN = 200
MAX_WAIT_S = 0.5
"""Longest time that a key press waits for a file system."""


class FileInput(Vertical):
    """An input and a list of suggestions; up and down select, tab accepts."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "suggest(1)", "next", show=False, tooltip="select a suggestion"),
        Binding("up", "suggest(-1)", "previous", show=False, tooltip="select a suggestion"),
        Binding("tab", "complete", "complete", key_display="tab", tooltip="accept the suggestion"),
    ]

    @dataclass
    class Edited(Message):
        """The name changed."""

        file_input: FileInput

        @property
        def control(self) -> FileInput:
            return self.file_input

    def __init__(
        self,
        value: str,
        suggest: Suggest,
        *,
        hint: str,
        guess: Callable[[str], bool] | None = None,
        id: str | None = None,
    ) -> None:
        """``guess`` tells for which names without a file Enter accepts a suggestion."""
        super().__init__(id=id)
        self._guess = guess
        self._suggest = suggest
        self._value = value
        self._hint = hint
        self._has_chosen = False
        self._listed_for: str | None = None
        """The text that the suggestions belong to."""

    def compose(self) -> ComposeResult:
        yield TextInput(
            self._value, placeholder=self._hint, max_length=MAX_CHARACTERS, select_on_focus=False
        )
        menu = Menu()
        menu.can_focus = False
        yield menu

    def on_mount(self) -> None:
        self.call_after_refresh(self._list)  # lines of an unmounted menu get no height

    @property
    def value(self) -> str:
        """Return the current text."""
        return self.query_one(Input).value.strip()

    @property
    def chosen(self) -> str | None:
        """Return the selected suggestion; None if none is shown."""
        menu = self.query_one(Menu)
        return menu.chosen if menu.display else None

    def list_again(self) -> None:
        """Compute the suggestions anew."""
        self._listed_for = None
        self._list()

    def put(self, value: str) -> None:
        """Set the text, with the cursor at its end."""
        line = self.query_one(Input)
        line.value = value
        line.cursor_position = len(value)

    def fold(self, folded: bool) -> None:
        """Hide the suggestions, or show them again."""
        self.query_one(Menu).display = not folded

    def suggest_from(self, suggest: Suggest) -> None:
        """List the suggestions of another suggester."""
        self._suggest, self._listed_for = suggest, None
        self._list()

    def focus_input(self) -> None:
        self.query_one(Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._has_chosen = False
        self._list()
        self.post_message(self.Edited(self))

    def settle(self) -> bool:
        """Accept the selected suggestion; return whether the value is not a folder to descend into."""
        menu = self._current()
        meant = self._has_chosen or not self.value
        if self._guess and not meant:
            meant = not _exists(self.value) and self._guess(self.value)
        if meant and menu.display and menu.chosen is not None:
            self.action_complete()
        return not self.value.endswith("/")

    def action_suggest(self, by: int) -> None:
        """Move between the suggestions, and beyond them to the next or previous field."""
        menu = self.query_one(Menu)
        before = menu.cursor
        if menu.display and menu.chosen not in (None, self.value):
            if menu.marks:
                self._has_chosen = True
                menu.action_move(by)
                self.screen.refresh_bindings()
            elif by > 0:
                self._has_chosen = menu.marks = True
                return
            if menu.cursor != before:
                return
        self.screen.focus_next() if by > 0 else self.screen.focus_previous()

    def action_complete(self) -> None:
        """Accept the suggestion; unless it is a folder, go to the next field."""
        menu, line = self._current(), self.query_one(Input)
        if menu.display and (chosen := menu.chosen) is not None and chosen != line.value:
            line.value = chosen
            line.cursor_position = len(chosen)
            if chosen.endswith("/"):
                return
        self.screen.focus_next()

    @work(group="suggest", exclusive=True, exit_on_error=False)
    async def _list(self) -> None:
        """Compute suggestions in a thread: a folder may be large or remote."""
        typed = self.query_one(Input).value
        suggestions = await run_in_thread(self._suggest, typed)
        self._offer(typed, suggestions)

    def _current(self) -> Menu:
        """Return the suggestions for the current text."""
        typed = self.query_one(Input).value
        if typed != self._listed_for:
            with contextlib.suppress(TimeoutError):  # do not wait for a remote folder
                self._offer(typed, call_with_timeout(MAX_WAIT_S, self._suggest, typed))
        return self.query_one(Menu)

    def _offer(self, typed: str, suggestions: Sequence[tuple[str, str, str]]) -> None:
        if not self.is_attached or typed == self._listed_for:
            return
        self._listed_for = typed
        ids = [value for value, _, _ in suggestions[:MAX_SHOWN]]
        self._has_chosen = self._has_chosen and self.query_one(Menu).chosen in ids
        self.query_one(Menu).marks = self._has_chosen or not typed.strip()
        self.query_one(Menu).show([
            MenuLine(Text.assemble(make_visible(name), (f"  {note}", "dim"), no_wrap=True), value)
            for value, name, note in suggestions[:MAX_SHOWN]
        ])  # fmt: skip
        self.screen.refresh_bindings()  # keys of the page may act on the selected suggestion


def _exists(name: str) -> bool:
    try:
        return call_with_timeout(MAX_WAIT_S, lambda: user_paths.exists(user_paths.expand(name)))
    except (FtwizardError, TimeoutError):
        return False
