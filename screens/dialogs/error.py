"""Error dialog with a fix."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from ftwizard.errors import FtwizardError
from ftwizard.screens import crash_log, palette
from ftwizard.screens.dialogs.dialog import Dialog, format_keys
from ftwizard.text import make_visible


class ErrorDialog(Dialog[None]):
    """Shows an error until it is closed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter", "dismiss", "close", show=False),
    ]

    def __init__(self, error: FtwizardError) -> None:
        super().__init__()
        self._error = error

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="problem"):
            yield Static(
                Text.assemble(
                    ("✗ ", f"bold {palette.BAD}"), make_visible(self._error.message, 1500)
                ),
                markup=False,
            )
            if self._error.hint:
                yield Static(make_visible(self._error.hint, 1000), markup=False)
            yield Static(format_keys(("enter", "closes")), markup=False)


def show_error(app: App[Any], error: BaseException) -> None:
    """Show an error from part of a screen; the rest keeps running."""
    if not isinstance(error, FtwizardError):
        error = crash_log.to_user_error(error)
    app.push_screen(ErrorDialog(error))
