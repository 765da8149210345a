"""Confirmation dialog: Enter confirms, Esc declines."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from ftwizard.screens import palette
from ftwizard.screens.dialog import Dialog


class Ask(Dialog[bool]):
    """Dismisses with True on Enter, False on esc."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "answer(True)", "yes", show=False),
        Binding("escape", "answer(False)", "no", show=False),
    ]

    def __init__(self, question: str, details: str, yes: str, no: str = "cancel") -> None:
        super().__init__()
        self._question, self._details = question, details
        self._yes, self._no = yes, no

    def compose(self) -> ComposeResult:
        with Vertical(id="ask"):
            yield Static(Text(self._question, "bold"), markup=False)
            yield Static(self._details, markup=False)
            keys = Text.assemble(
                ("enter", f"bold {palette.ACCENT}"), f" {self._yes}     ", ("esc", f"bold {palette.ACCENT}"),
                f" {self._no}",
            )  # fmt: skip
            yield Static(keys, markup=False)

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)
