"""Confirmation dialog: Enter confirms, Esc declines."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, Static

from ftwizard.screens import palette
from ftwizard.screens.dialogs.dialog import Dialog
from ftwizard.screens.widgets.text_input import TextInput


class ConfirmDialog(Dialog[bool]):
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


# Confirmation of an irreversible action: only y confirms, as on the command line.


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


# Warning that is overridden only by typing its name, never by a stray Enter.


class TypedConfirm(Dialog[bool]):
    """Dismisses with True once ``phrase`` was typed, with False on Esc."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(False)", "no", show=False),
    ]

    def __init__(self, warning: str, hint: str, phrase: str) -> None:
        super().__init__()
        self._warning, self._hint, self._phrase = warning, hint, phrase

    def compose(self) -> ComposeResult:
        with Vertical(id="typed"):
            yield Static(
                Text.assemble(("! ", f"bold {palette.WARNING}"), self._warning), markup=False
            )
            yield Static(self._hint, markup=False)
            yield Static(
                Text.assemble(
                    "To continue anyway, type  ", (self._phrase, "bold"), "  (esc goes back)"
                ),
                markup=False,
            )
            yield TextInput(placeholder=self._phrase, max_length=100)
            yield Static(id="mismatch", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if event.value.strip().lower() == self._phrase:
            self.dismiss(True)
        else:
            event.input.value = ""
            self.query_one("#mismatch", Static).update(
                Text.assemble(("✗ ", palette.BAD), "No match. Try again, or press esc to go back.")
            )
