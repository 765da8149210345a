"""Where the wizard ends on a path whose jobs ftwizard cannot start."""

from __future__ import annotations

import datetime
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from ftwizard.catalog import PathId, catalog
from ftwizard.screens import palette
from ftwizard.screens.draft import Draft, Step
from ftwizard.screens.page import Page
from ftwizard.text import plural, visible


class Elsewhere(Page[Step]):
    """Says how far this path goes here; Enter goes on with training on this machine instead."""

    NAME = "Elsewhere"
    HELP = "The rows are checked; the rest of this path is not in ftwizard."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "here", "train here instead", key_display="enter"),
        Binding("h", "home", "home"),
        Binding("escape", "back", "back", key_display="esc"),
    ]

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self._draft = draft

    def body(self) -> ComposeResult:
        with VerticalScroll(classes="lead"):
            path: PathId = self._draft.path or "cloud"
            yield Static(words(path, self._draft.checked or {}), markup=False)

    def action_here(self) -> None:
        self.dismiss(Step(self._draft.on_path("local"), 1))

    def action_home(self) -> None:
        self.dismiss(Step(self._draft, 0))

    def action_back(self) -> None:
        self.dismiss(Step(self._draft, -1))


def words(path: PathId, checked: dict[str, Any]) -> Text:
    """Return what was done, why it ends here, and what ends there when."""
    known = catalog().path(path)
    text = Text.assemble((f"{known.name}\n\n", "bold"))
    text.append("✓ ", palette.GOOD)
    text.append(
        f"{plural(checked.get('usable', 0), 'row')} of {visible(str(checked.get('path')))} can be "
        f"used ({checked.get('format')}).\n"
    )
    text.append("! ", f"bold {palette.WARNING}").append(f"{known.unavailable}\n")
    today = datetime.date.today()
    for end in catalog().lifecycles:
        if end.path == path and end.date > today:
            text.append("· ", "dim").append(f"{end.date}: {end.text}\n")
    return text.append("\nEnter trains on this machine instead, with the same rows.", "dim")
