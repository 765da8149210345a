"""Dialogs with named text fields."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import ScreenResultType
from textual.widgets import Input, Static

from ftwizard import user_paths
from ftwizard.errors import FtwizardError
from ftwizard.screens import palette
from ftwizard.screens.dialogs.dialog import Dialog
from ftwizard.screens.draft.suggestions import MAX_CHARACTERS, find_problem
from ftwizard.screens.widgets.text_input import TextInput


class FormDialog(Dialog[ScreenResultType]):
    """Dismisses with what ``parse`` makes of the typed texts, with None on Esc."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "app.focus_previous", "up", show=False, tooltip="previous field"),
        Binding("down", "app.focus_next", "down", show=False, tooltip="next field"),
    ]
    MAX_LENGTH: ClassVar[int] = 24

    def __init__(
        self,
        question: str,
        *lines: Text | str,
        fields: Sequence[tuple[str, str]],
        enter: str = "set it",
        problem: str = "",
    ) -> None:
        """``fields``: name and first text of each; ``enter``: what Enter does; ``problem``: why these
        first texts were refused."""
        super().__init__(Text(question, "bold"), *lines, keys=[("enter", enter), ("esc", "cancel")])
        self._fields, self._problem = fields, problem

    @abstractmethod
    def parse(self, typed: list[str]) -> ScreenResultType:
        """Return the result; raise FtwizardError or ValueError if the texts are invalid."""

    def body(self) -> ComposeResult:
        for name, text in self._fields:
            with Horizontal(classes="named"):
                yield Static(name, classes="name", markup=False)
                short = self.MAX_LENGTH < MAX_CHARACTERS
                yield TextInput(text, max_length=self.MAX_LENGTH, select_on_focus=short)
        yield Static(id="wrong", markup=False)

    def on_mount(self) -> None:
        self.show_problem(self._problem)

    def on_input_changed(self) -> None:
        are_first = [line.value for line in self.query(Input)] == [text for _, text in self._fields]
        self.show_problem(self._problem if are_first else "")

    def on_input_submitted(self) -> None:
        """Accept the texts; Enter arrives after the keys typed before it."""
        try:
            result = self.parse([line.value for line in self.query(Input)])
        except FtwizardError as error:
            self.show_problem(error.text)
        except ValueError as error:
            self.show_problem(str(error))
        else:
            self.dismiss(result)

    def show_problem(self, problem: str) -> None:
        line = self.query_one("#wrong", Static)
        line.display = bool(problem)
        line.update(Text.assemble(("✗ ", f"bold {palette.BAD}"), problem))


class SaveAsDialog(FormDialog[list[str]]):
    """Asks for the names of new files; dismisses with absolute paths."""

    MAX_LENGTH = MAX_CHARACTERS

    def parse(self, typed: list[str]) -> list[str]:
        if problem := find_problem(typed):
            raise ValueError(problem)
        return [str(user_paths.make_absolute(name.strip())) for name in typed]
