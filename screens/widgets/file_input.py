"""A file name with what could complete it below."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input

from ftwizard import file_names
from ftwizard.errors import FtwizardError
from ftwizard.screens.beside import beside, within
from ftwizard.screens.suggestions import MAX_CHARACTERS, Suggest
from ftwizard.screens.widgets.entry import Entry
from ftwizard.screens.widgets.menu import Line, Menu
from ftwizard.text import visible

SHOWN = 200
SOON_S = 0.5
"""So long at most does a key wait for a file system."""


class FileInput(Vertical):
    """An input line and a list of suggestions; up and down choose, tab takes one over."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "suggest(1)", "next", show=False),
        Binding("up", "suggest(-1)", "previous", show=False),
        Binding("tab", "complete", "complete", key_display="tab"),
    ]

    class Edited(Message):
        """The name was changed."""

        def __init__(self, file_input: FileInput, value: str) -> None:
            super().__init__()
            self.file_input = file_input
            self.value = value

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
        """``guess`` says for which names that there is no file of Enter takes a suggestion over."""
        super().__init__(id=id)
        self._guess = guess
        self._suggest = suggest
        self._value = value
        self._hint = hint
        self._chosen = False
        self._listed: str | None = None
        """What the suggestions are for."""

    def compose(self) -> ComposeResult:
        yield Entry(
            self._value, placeholder=self._hint, max_length=MAX_CHARACTERS, select_on_focus=False
        )
        menu = Menu()
        menu.can_focus = False
        yield menu

    def on_mount(self) -> None:
        self.call_after_refresh(self._list)  # lines for a menu that is not mounted get no height

    @property
    def value(self) -> str:
        """Return what is in the line."""
        return self.query_one(Input).value.strip()

    def put(self, value: str) -> None:
        """Have another name in the line."""
        self.query_one(Input).value = value

    def fold(self, folded: bool) -> None:
        """Hide the suggestions, or show them again."""
        self.query_one(Menu).display = not folded

    def focus_input(self) -> None:
        self.query_one(Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._chosen = False
        self._list()
        self.post_message(self.Edited(self, self.value))

    def settle(self) -> bool:
        """Take over the suggestion that was chosen; return whether it is no folder to go into."""
        menu = self._current()
        meant = self._chosen or not self.value
        if self._guess and not meant:
            meant = not _is_there(self.value) and self._guess(self.value)
        if meant and menu.display and menu.chosen is not None:
            self.action_complete()
        return not self.value.endswith("/")

    def action_suggest(self, by: int) -> None:
        """Move among the suggestions; beyond them, to the field above or below."""
        menu = self.query_one(Menu)
        before = menu.cursor
        if menu.display and menu.chosen not in (None, self.value):
            if menu.marks:
                self._chosen = True
                menu.action_move(by)
            elif by > 0:
                self._chosen = menu.marks = True
                return
            if menu.cursor != before:
                return
        self.screen.focus_next() if by > 0 else self.screen.focus_previous()

    def action_complete(self) -> None:
        """Take the suggestion over; where there is none, or it is no folder, go to the next field."""
        menu, line = self._current(), self.query_one(Input)
        chosen = menu.chosen
        if menu.display and chosen is not None and chosen != line.value:
            line.value = chosen
            line.cursor_position = len(chosen)
            if chosen.endswith("/"):
                return
        self.screen.focus_next()

    @work(group="suggest", exclusive=True, exit_on_error=False)
    async def _list(self) -> None:
        """Suggest beside the loop: a folder may be large, or far away."""
        typed = self.query_one(Input).value
        found = await beside(self._suggest, typed)
        self._offer(typed, found)

    def _current(self) -> Menu:
        """Return the suggestions for what stands in the line now."""
        typed = self.query_one(Input).value
        if typed != self._listed:
            with contextlib.suppress(TimeoutError):  # a folder that is far away is not waited for
                self._offer(typed, within(SOON_S, self._suggest, typed))
        return self.query_one(Menu)

    def _offer(self, typed: str, found: Sequence[tuple[str, str, str]]) -> None:
        if not self.is_attached or typed == self._listed:
            return
        self._listed = typed
        ids = [value for value, _, _ in found[:SHOWN]]
        self._chosen = self._chosen and self.query_one(Menu).chosen in ids
        self.query_one(Menu).marks = self._chosen or not typed.strip()
        self.query_one(Menu).show([
            Line(Text.assemble(visible(name), (f"  {note}", "dim"), no_wrap=True), value)
            for value, name, note in found[:SHOWN]
        ])  # fmt: skip


def _is_there(name: str) -> bool:
    try:
        return within(SOON_S, lambda: file_names.exists(file_names.expand(name)))
    except (FtwizardError, TimeoutError):
        return False
