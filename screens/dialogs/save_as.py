"""Dialog for the names of new files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Static

from ftwizard import locations, user_paths
from ftwizard.errors import FtwizardError
from ftwizard.screens import palette
from ftwizard.screens.dialogs.dialog import Dialog
from ftwizard.screens.widgets.text_input import TextInput
from ftwizard.screens.wizard.drafts import format_path
from ftwizard.screens.wizard.suggestions import COMPRESSION_SUFFIXES, DATA_SUFFIXES, MAX_CHARACTERS
from ftwizard.text import make_visible

# Names for new files that do not exist yet.

_ENDINGS = (*COMPRESSION_SUFFIXES, *DATA_SUFFIXES)


def suggest_name(source: str, word: str) -> str:
    """Suggest an unused name for a JSON Lines file made from ``source``: ``rows.fixed.jsonl``.

    The file goes next to its source, or into the working directory if that is a cache.
    """
    path = Path(source)
    stem = path.name
    while (cut := stem.lower()).endswith(_ENDINGS):
        stem = stem[: cut.rindex(".")]
    folder = path.parent if _is_writable(path.parent) else Path.cwd()
    number = 1
    while True:
        again = f"-{number}" if number > 1 else ""
        made = folder / f"{stem or 'rows'}.{word}{again}.jsonl"
        if not user_paths.exists(made):
            return format_path(str(made))
        number += 1


def find_problem(names: Sequence[str]) -> str:
    """Describe why files cannot be written under these names; empty if they can."""
    wholes: list[Path] = []
    for name in names:
        if not name.strip():
            return "Enter a file name."
        try:
            path = user_paths.make_absolute(name.strip())
        except FtwizardError as error:
            return f"{error.message} {error.hint}"
        if user_paths.exists(path):
            return f"File {make_visible(name, 100)} already exists. Choose another name."
        if not user_paths.is_folder(path.parent):
            return f"Folder {make_visible(str(path.parent), 200)} does not exist."
        if path in wholes:
            return "Give each file a different name."
        wholes.append(path)
    return ""


def _is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and not folder.is_relative_to(locations.cache_folder())


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
            keys = Text.assemble(
                ("enter", f"bold {palette.ACCENT}"), f" {self._do}     ",
                ("esc", f"bold {palette.ACCENT}"), " goes back",
            )  # fmt: skip
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
