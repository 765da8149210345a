"""Dialog with a list of options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from ftwizard.screens.dialogs.dialog import Dialog, format_keys
from ftwizard.screens.widgets.menu import Menu, MenuLine


class ChooseDialog(Dialog[str | None]):
    """Dismisses with the id of the chosen option, None on Esc."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "back", show=False),
    ]

    def __init__(
        self, question: str, details: str, options: Sequence[tuple[str, str]], chosen: str = ""
    ) -> None:
        super().__init__()
        self._question, self._details = question, details
        self._options, self._chosen = options, chosen

    def compose(self) -> ComposeResult:
        with Vertical(id="pick"):
            yield Static(Text(self._question, "bold"), markup=False)
            if self._details:
                yield Static(self._details, markup=False)
            yield Menu(id="options")
            keys = format_keys(("enter", "selects"), ("esc", "goes back"))
            yield Static(keys, classes="keys", markup=False)

    def on_mount(self) -> None:
        menu = self.query_one(Menu)
        lines = [MenuLine(Text(label, no_wrap=True), id) for id, label in self._options]
        menu.show(lines, cursor=self._chosen or None)
        menu.focus()

    def on_menu_chosen(self, event: Menu.Chosen) -> None:
        self.dismiss(event.id)
