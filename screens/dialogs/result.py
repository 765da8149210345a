"""Dialog with the result of a command, to accept or decline."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from ftwizard.screens import layout
from ftwizard.screens.dialogs.dialog import Dialog, format_keys
from ftwizard.screens.widgets.scroll_pane import TextPane


class ResultDialog(Dialog[bool]):
    """Dismisses with True on Enter, False on Esc; arrow keys scroll."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "dismiss(True)", "yes", show=False, priority=True),
        Binding("escape", "dismiss(False)", "no", show=False),
    ]

    def __init__(self, heading: Text, body: Text, yes: str, no: str) -> None:
        super().__init__()
        self._heading, self._body = heading, body
        self._yes, self._no = yes, no

    def compose(self) -> ComposeResult:
        with Vertical(id="outcome"):
            yield Static(self._heading, markup=False)
            yield TextPane(id="account")
            keys = format_keys(("enter", self._yes), ("esc", self._no))
            yield Static(keys, classes="keys", markup=False)

    def on_mount(self) -> None:
        self.query_one(TextPane).focus()
        self.call_after_refresh(self._show)

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        pane = self.query_one(TextPane)
        pane.show(layout.wrap_hanging(self._body, 2, pane.visible_size[0]))
