"""Confirmation dialogs: with Enter, with y, and with a typed phrase."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, Static

from ftwizard.screens import palette
from ftwizard.screens.dialogs.dialog import Dialog, format_keys
from ftwizard.screens.widgets.text_input import TextInput


class _Question(Dialog[bool]):
    """A question with details, and its keys."""

    def __init__(self, question: str, details: str, *keys: tuple[str, str]) -> None:
        super().__init__()
        self._question, self._details, self._keys = question, details, keys

    def compose(self) -> ComposeResult:
        with Vertical(id="ask"):
            yield Static(Text(self._question, "bold"), markup=False)
            yield Static(self._details, markup=False)
            yield Static(format_keys(*self._keys), markup=False)


class ConfirmDialog(_Question):
    """Dismisses with True on Enter, False on Esc."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "dismiss(True)", "yes", show=False),
        Binding("escape", "dismiss(False)", "no", show=False),
    ]

    def __init__(self, question: str, details: str, yes: str, no: str = "cancel") -> None:
        super().__init__(question, details, ("enter", yes), ("esc", no))


class DestructiveConfirm(_Question):
    """Confirms what cannot be undone: True on y as on the command line, False on Enter, Esc and n."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "yes", show=False),
        Binding("escape,enter,n", "dismiss(False)", "no", show=False),
    ]

    def __init__(self, question: str, details: str, yes: str) -> None:
        super().__init__(question, details, ("y", yes), ("esc", "cancel"))


class TypedConfirm(Dialog[bool]):
    """Dismisses with True once ``phrase`` was typed, never on a stray Enter; with False on Esc."""

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
