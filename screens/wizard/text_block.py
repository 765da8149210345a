"""Text of several lines in a form: one row that shows it, and a page that edits it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import TextArea

from ftwizard.screens import palette
from ftwizard.screens.wizard.text_area_page import TextAreaPage

MAX_CHARS = 20_000
"""Characters of a text: more was pasted by mistake."""


class TextBlock(Widget, can_focus=True):
    """Shows a text in a line; a key opens the page that edits it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e,space,right", "edit", "edit", key_display="e", tooltip="edit the lines"),
    ]
    value: reactive[str] = reactive("", init=False)

    @dataclass
    class Changed(Message):
        """The text was edited."""

        block: TextBlock

    def __init__(
        self,
        value: str,
        *,
        title: str,
        note: str,
        summarize: Callable[[str], str],
        find_problem: Callable[[str], str],
    ) -> None:
        """``summarize`` returns the line that is shown; ``find_problem``: why a text cannot be used,
        empty if it can."""
        super().__init__()
        self._title, self._note = title, note
        self._summarize, self._find_problem = summarize, find_problem
        self.set_reactive(TextBlock.value, value)

    def render(self) -> Text:
        style = f"bold {palette.ACCENT}" if self.has_focus else "bold" if self.value else ""
        return Text(self._summarize(self.value), style, no_wrap=True, overflow="ellipsis")

    def watch_value(self) -> None:
        self.refresh()
        self.post_message(self.Changed(self))

    @work(group="edit", exclusive=True, exit_on_error=False)
    async def action_edit(self) -> None:
        page = TextBlockPage(self.value, self._title, self._note, self._find_problem)
        edited = await self.app.push_screen_wait(page)
        if edited is not None:
            self.value = edited


class TextBlockPage(TextAreaPage):
    """Dismisses with the edited lines, or None if they were left as they were."""

    STEP: ClassVar[int | None] = 2
    NAME = "Edit lines"
    NOTES = ("Enter begins a new line; ctrl+s takes the lines over.",)
    UNCHANGED = "The lines stay as they were."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", "take over", key_display="^s", priority=True,
                tooltip="take the lines over, and go back"),
    ]  # fmt: skip

    def __init__(
        self, text: str, title: str, note: str, find_problem: Callable[[str], str]
    ) -> None:
        super().__init__(text, title, note)
        self._find_problem = find_problem

    def _get_text(self) -> str:
        """Return the text, with one line end at its end unless it is empty."""
        text = self.query_one(TextArea).text.rstrip()
        return f"{text}\n" if text else ""

    @property
    def is_changed(self) -> bool:
        return self._get_text() != self._text

    def on_text_area_changed(self) -> None:
        self._show(self._find_text_problem())

    def _find_text_problem(self) -> str:
        text = self._get_text()
        too_long = f"That is too long: at most {MAX_CHARS:,} characters."
        return too_long if len(text) > MAX_CHARS else self._find_problem(text)

    def _show(self, problem: str) -> None:
        mark = ("✗ ", f"bold {palette.BAD}")
        self.show_state(Text.assemble(mark, problem) if problem else Text())

    def action_save(self) -> None:
        if problem := self._find_text_problem():
            self._show(problem)
            return
        self.dismiss(self._get_text())
