"""Base class of the pages that edit text of several lines."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static, TextArea

from ftwizard.screens.dialogs.questions import DestructiveConfirm
from ftwizard.screens.page import Page


class TextAreaPage(Page[str | None]):
    """Dismisses with the edited text, or None if it was left as it was."""

    UNCHANGED: ClassVar[str]
    """What stays as it was once the changes are discarded."""
    BINDINGS: ClassVar[list[BindingType]] = [
        # Both must remain typeable.
        Binding("f1", "help", "help", key_display="F1", tooltip="this list"),
        Binding("escape", "leave", "back", key_display="esc", priority=True,
                tooltip="back; asks before a change is discarded"),
    ]  # fmt: skip

    def __init__(self, text: str, title: str, note: str) -> None:
        """``title`` and ``note``: the heading above the text."""
        super().__init__()
        self._text, self._title, self._note = text, title, note

    def body(self) -> ComposeResult:
        heading = Text.assemble((self._title, "bold"), f"  {self._note}")
        yield Static(heading, id="heading", markup=False)
        yield TextArea(
            self._text, id="text", soft_wrap=True, show_line_numbers=True, theme="css",
            highlight_cursor_line=False,
        )  # fmt: skip
        yield Static(id="state", markup=False)

    def on_mount(self) -> None:
        self.query_one(TextArea).focus()

    @property
    def is_changed(self) -> bool:
        """Return whether the text is another than at first."""
        raise NotImplementedError

    def show_state(self, state: Text) -> None:
        """Show whether the text can be used, in the line below it."""
        self.query_one("#state", Static).update(state)

    @work(group="leave", exclusive=True, exit_on_error=False)
    async def action_leave(self) -> None:
        """Leave the page; ask before a change is discarded."""
        question = DestructiveConfirm("Discard the changes?", self.UNCHANGED, "discard")
        if not self.is_changed or await self.app.push_screen_wait(question):
            self.dismiss(None)
