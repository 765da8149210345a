"""Last wizard page for a provider whose jobs ftwizard cannot start."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from ftwizard.screens.draft import texts
from ftwizard.screens.draft.drafts import Draft, Step
from ftwizard.screens.page import Page

LOCAL_HINT = "\nPress Enter to train on this machine instead, with the same rows."


class UnsupportedProviderPage(Page[Step]):
    """Explains what to do outside ftwizard; Enter switches to local training."""

    NAME = "Elsewhere"
    STEP = 1
    HELP = "Your rows are checked. ftwizard cannot start jobs on this provider."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "here", "train here instead", key_display="enter"),
        Binding("c", "costs", "costs"),
        Binding("h", "home", "home"),
        Binding("escape", "back", "back", key_display="esc"),
    ]

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self._draft = draft

    def body(self) -> ComposeResult:
        with VerticalScroll(classes="lead"):
            text = texts.format_elsewhere(self._draft.provider, self._draft.checked)
            yield Static(text.append(LOCAL_HINT, "dim"), markup=False)

    def action_here(self) -> None:
        self.dismiss(Step(self._draft.with_provider("local"), 1))

    def action_costs(self) -> None:
        from ftwizard.screens.costs.page import CostsPage

        def apply_price(draft: Draft | None) -> None:
            self._draft = self._draft.with_hour_price(draft.hour) if draft else self._draft

        self.app.push_screen(CostsPage(self._draft), apply_price)

    def action_home(self) -> None:
        self.dismiss(Step(self._draft, 0))

    def action_back(self) -> None:
        self.dismiss(Step(self._draft, -1))
