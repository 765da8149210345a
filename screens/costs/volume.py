"""Dialog for the monthly volume of requests."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Static

from ftwizard.pricing.offer import Volume
from ftwizard.screens import palette
from ftwizard.screens.costs.inputs import AMOUNT_NAMES, ASSUMED_NOTE, MEASURED_NOTE, parse_amount
from ftwizard.screens.dialogs.dialog import Dialog, format_keys
from ftwizard.screens.widgets.text_input import TextInput

MAX_CHARACTERS = 24


class VolumeDialog(Dialog[Volume | None]):
    """Dismisses with a volume, None on esc. ``usual``: values to start with."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "back", show=False),
        Binding("up", "app.focus_previous", "up", show=False),
        Binding("down", "app.focus_next", "down", show=False),
    ]

    def __init__(self, usual: Volume, *, measured: bool) -> None:
        super().__init__()
        self._usual, self._measured = usual, measured

    def compose(self) -> ComposeResult:
        usual = self._usual
        values = (usual.requests, usual.tokens_in, usual.tokens_out)
        with Vertical(id="volume"):
            yield Static(Text("How many requests per month?", "bold"), markup=False)
            yield Static(MEASURED_NOTE if self._measured else ASSUMED_NOTE, markup=False)
            for name, value in zip(AMOUNT_NAMES, values, strict=True):
                with Horizontal(classes="named"):
                    yield Static(name, classes="name", markup=False)
                    shown = "" if value is None else f"{value:,f}"
                    yield TextInput(shown, max_length=MAX_CHARACTERS, select_on_focus=True)
            yield Static(id="wrong", markup=False)
            keys = format_keys(("enter", "sets it"), ("esc", "goes back"))
            yield Static(keys, classes="keys", markup=False)

    def on_mount(self) -> None:
        self._say("")
        self.query(Input).first().focus()

    def on_input_changed(self) -> None:
        self._say("")

    def on_input_submitted(self) -> None:
        """Accept the volume; Enter arrives after the keys typed before it."""
        try:
            amounts = [
                parse_amount(name, line.value)
                for name, line in zip(AMOUNT_NAMES, self.query(Input), strict=True)
            ]
        except ValueError as error:
            self._say(str(error))
            return
        self.dismiss(Volume(requests=amounts[0], tokens_in=amounts[1], tokens_out=amounts[2]))

    def _say(self, wrong: str) -> None:
        line = self.query_one("#wrong", Static)
        line.display = bool(wrong)
        line.update(Text.assemble(("✗ ", f"bold {palette.BAD}"), wrong))
