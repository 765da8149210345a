"""Warning that is overridden only by typing its name, never by a stray Enter."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, Static

from ftwizard.screens import palette
from ftwizard.screens.dialog import Dialog
from ftwizard.screens.widgets.entry import Entry


class Typed(Dialog[bool]):
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
            yield Entry(placeholder=self._phrase, max_length=100)
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
