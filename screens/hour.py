"""Asks what an hour of this machine costs, and whether to remember it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Static

from ftwizard import hour_price
from ftwizard.catalog.prices import Rate
from ftwizard.errors import FtwizardError
from ftwizard.screens import hour_texts, palette
from ftwizard.screens.dialog import Dialog
from ftwizard.screens.widgets.entry import Entry

if TYPE_CHECKING:
    from ftwizard.screens.app import FtwizardApp

MAX_CHARACTERS = 24


class HourPage(Dialog[Rate | None]):
    """Dismisses with the price that was typed, None on esc. ``guide``: what such a card rents for."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "back", show=False),
    ]

    def __init__(self, hour: Rate | None, guide: str) -> None:
        super().__init__()
        self._hour, self._guide = hour, guide

    def compose(self) -> ComposeResult:
        with Vertical(id="volume"):
            yield Static(Text(hour_texts.QUESTION, "bold"), markup=False)
            yield Static(hour_texts.WHY, classes="about", markup=False)
            if self._guide:
                yield Static(Text(self._guide, "dim"), classes="about", markup=False)
            with Horizontal(classes="named"):
                yield Static(hour_texts.NAME, classes="name", markup=False)
                shown = f"{self._hour.usd:f}" if self._hour else ""
                yield Entry(shown, max_length=MAX_CHARACTERS, select_on_focus=True)
            yield Static(id="wrong", markup=False)
            keys = Text.assemble(
                ("enter", f"bold {palette.ACCENT}"), " takes it     ",
                ("esc", f"bold {palette.ACCENT}"), " changes nothing",
            )  # fmt: skip
            yield Static(keys, classes="keys", markup=False)

    def on_mount(self) -> None:
        self._say("")
        self.query_one(Input).focus()

    def on_input_changed(self) -> None:
        self._say("")

    def on_input_submitted(self) -> None:
        """Take it: the line in focus tells of Enter once it holds what was typed before."""
        try:
            found = hour_price.said(self.query_one(Input).value)
        except FtwizardError as error:
            self._say(f"{error.message} {error.hint}")
        else:
            self.dismiss(found)

    def _say(self, wrong: str) -> None:
        self.query(".about").set(display=not wrong)  # on a small terminal there is room for one
        line = self.query_one("#wrong", Static)
        line.display = bool(wrong)
        line.update(Text.assemble(("✗ ", f"bold {palette.BAD}"), wrong))


async def ask(app: FtwizardApp, hour: Rate | None, guide: str = "") -> Rate | None:
    """Ask for the price of an hour, and whether to remember it; return it, else ``hour``."""
    from ftwizard.screens.ask import Ask
    from ftwizard.screens.problem import Problem

    said = await app.push_screen_wait(HourPage(hour, guide))
    if said is None:
        return hour
    if (before := hour_price.remembered()) and before.usd == said.usd:
        return before
    if not await app.push_screen_wait(
        Ask(hour_texts.REMEMBER, hour_texts.remembering(), "remember it", "this time only")
    ):
        return said
    try:
        hour_price.remember(said.usd)
    except FtwizardError as error:
        await app.push_screen_wait(Problem(error))
        return said
    return hour_price.remembered() or said
