"""Confirmation of an irreversible action: only y confirms, as on the command line."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from ftwizard.screens import palette
from ftwizard.screens.dialog import Dialog


class DestructiveConfirm(Dialog[bool]):
    """Dismisses with True on y, with False on Enter, Esc and n."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "yes", show=False),
        Binding("escape,enter,n", "dismiss(False)", "no", show=False),
    ]

    def __init__(self, question: str, details: str, yes: str) -> None:
        super().__init__()
        self._question, self._details, self._yes = question, details, yes

    def compose(self) -> ComposeResult:
        with Vertical(id="ask"):
            yield Static(Text(self._question, "bold"), markup=False)
            yield Static(self._details, markup=False)
            key = f"bold {palette.ACCENT}"
            keys = Text.assemble(("y", key), f" {self._yes}     ", ("esc", key), " cancel")
            yield Static(keys, markup=False)
