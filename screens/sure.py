"""A question about what cannot be undone: only y does it, as on the command line."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from ftwizard.screens import palette
from ftwizard.screens.dialog import Dialog


class Sure(Dialog[bool]):
    """Dismisses with True on y; Enter, esc and n leave everything as it is."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "yes", show=False),
        Binding("escape,enter,n", "dismiss(False)", "no", show=False),
    ]

    def __init__(self, question: str, words: str, yes: str) -> None:
        super().__init__()
        self._question, self._words, self._yes = question, words, yes

    def compose(self) -> ComposeResult:
        with Vertical(id="ask"):
            yield Static(Text(self._question, "bold"), markup=False)
            yield Static(self._words, markup=False)
            key = f"bold {palette.ACCENT}"
            keys = Text.assemble(("y", key), f" {self._yes}     ", ("esc", key), " leave it")
            yield Static(keys, markup=False)
