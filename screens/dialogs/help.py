"""Help dialog: purpose and keys of the screen below."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from ftwizard.screens.dialogs.dialog import Dialog


class HelpDialog(Dialog[None]):
    """Shows the help of the screen below; any of its keys closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,question_mark,enter,q", "dismiss", "close", show=False),
    ]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._heading = title
        self._text = text

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help"):
            title = Text.assemble((self._heading, "bold"), ("   esc closes", "dim"))
            yield Static(title, markup=False)
            yield Static(self._text, markup=False)
            yield Static(self._format_keys(), markup=False)

    def _format_keys(self) -> Text:
        """Return the current keys of the screen below."""
        below = self.app.screen_stack[-2] if len(self.app.screen_stack) > 1 else self
        text = Text()
        descriptions: set[str] = set()
        for active in below.active_bindings.values():
            binding = active.binding
            if binding.show and binding.description and binding.description not in descriptions:
                descriptions.add(binding.description)
                key = self.app.get_key_display(binding)
                text.append(f"{key:>10}  ", "bold").append(f"{binding.description}\n")
        return text
