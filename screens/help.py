"""Help on the screen below: what it is for, and every key."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from ftwizard.screens.dialog import Dialog


class Help(Dialog[None]):
    """Words on the screen that it was called from; any of its keys closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,question_mark,enter,q", "dismiss", "close", show=False),
    ]

    def __init__(self, title: str, words: str) -> None:
        super().__init__()
        self._heading = title
        self._words = words

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help"):
            title = Text.assemble((self._heading, "bold"), ("   esc closes this", "dim"))
            yield Static(title, markup=False)
            yield Static(self._words, markup=False)
            yield Static(self._keys(), markup=False)

    def _keys(self) -> Text:
        """Return the keys of the screen below, as they are now."""
        below = self.app.screen_stack[-2] if len(self.app.screen_stack) > 1 else self
        text = Text()
        seen: set[str] = set()
        for active in below.active_bindings.values():
            binding = active.binding
            if binding.show and binding.description and binding.description not in seen:
                seen.add(binding.description)
                key = self.app.get_key_display(binding)
                text.append(f"{key:>10}  ", "bold").append(f"{binding.description}\n")
        return text
