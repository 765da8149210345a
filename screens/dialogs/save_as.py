"""Dialog for the names of new files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Static

from ftwizard import user_paths
from ftwizard.screens import palette
from ftwizard.screens.dialogs.dialog import Dialog, format_keys
from ftwizard.screens.draft.suggestions import MAX_CHARACTERS, find_problem
from ftwizard.screens.widgets.text_input import TextInput


class SaveAsDialog(Dialog[list[str] | None]):
    """Dismisses with absolute paths, None on esc."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "back", show=False),
        Binding("up", "app.focus_previous", "up", show=False),
        Binding("down", "app.focus_next", "down", show=False),
    ]

    def __init__(
        self, question: str, words: str, names: Sequence[tuple[str, str]], do: str
    ) -> None:
        """``names``: label and suggested name of each file; ``do``: what Enter does."""
        super().__init__()
        self._question, self._words = question, words
        self._names, self._do = names, do

    def compose(self) -> ComposeResult:
        with Vertical(id="new-file"):
            yield Static(Text(self._question, "bold"), markup=False)
            yield Static(self._words, markup=False)
            for label, name in self._names:
                with Horizontal(classes="named"):
                    yield Static(label, classes="name", markup=False)
                    yield TextInput(name, max_length=MAX_CHARACTERS, select_on_focus=False)
            yield Static(id="wrong", markup=False)
            keys = format_keys(("enter", self._do), ("esc", "goes back"))
            yield Static(keys, classes="keys", markup=False)

    def on_mount(self) -> None:
        self._say("")

    def on_input_changed(self) -> None:
        self._say("")

    def on_input_submitted(self) -> None:
        """Accept the names; Enter arrives after the keys typed before it."""
        names = [line.value for line in self.query(Input)]
        if wrong := find_problem(names):
            self._say(wrong)
            return
        self.dismiss([str(user_paths.make_absolute(name.strip())) for name in names])

    def _say(self, wrong: str) -> None:
        line = self.query_one("#wrong", Static)
        line.display = bool(wrong)
        line.update(Text.assemble(("✗ ", f"bold {palette.BAD}"), wrong))
