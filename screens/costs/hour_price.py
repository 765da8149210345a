"""Dialog for the hourly price of this machine."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Static

from ftwizard.catalog.prices import PriceRate
from ftwizard.errors import FtwizardError
from ftwizard.pricing import machine_rate
from ftwizard.screens import palette
from ftwizard.screens.dialogs.confirm import ConfirmDialog
from ftwizard.screens.dialogs.dialog import Dialog, format_keys
from ftwizard.screens.dialogs.error import ErrorDialog
from ftwizard.screens.draft import texts
from ftwizard.screens.widgets.text_input import TextInput

MAX_CHARACTERS = 24


class HourPriceDialog(Dialog[PriceRate | None]):
    """Dismisses with the typed price, None on esc. ``guide``: typical rental price of the GPU."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "back", show=False),
    ]

    def __init__(self, hour: PriceRate | None, guide: str) -> None:
        super().__init__()
        self._hour, self._guide = hour, guide

    def compose(self) -> ComposeResult:
        with Vertical(id="hour-price"):
            yield Static(Text(texts.HOUR_PRICE_QUESTION, "bold"), markup=False)
            yield Static(texts.HOUR_PRICE_REASON, classes="about", markup=False)
            if self._guide:
                yield Static(Text(self._guide, "dim"), classes="about", markup=False)
            with Horizontal(classes="named"):
                yield Static(texts.HOUR_PRICE_NAME, classes="name", markup=False)
                shown = f"{self._hour.usd:f}" if self._hour else ""
                yield TextInput(shown, max_length=MAX_CHARACTERS, select_on_focus=True)
            yield Static(id="wrong", markup=False)
            keys = format_keys(("enter", "sets it"), ("esc", "cancels"))
            yield Static(keys, classes="keys", markup=False)

    def on_mount(self) -> None:
        self._say("")
        self.query_one(Input).focus()

    def on_input_changed(self) -> None:
        self._say("")

    def on_input_submitted(self) -> None:
        """Accept the price; Enter arrives after the keys typed before it."""
        try:
            price = machine_rate.parse_typed_price(self.query_one(Input).value)
        except FtwizardError as error:
            self._say(f"{error.message} {error.hint}")
        else:
            self.dismiss(price)

    def _say(self, wrong: str) -> None:
        self.query(".about").set(display=not wrong)  # both do not fit on a small terminal
        line = self.query_one("#wrong", Static)
        line.display = bool(wrong)
        line.update(Text.assemble(("✗ ", f"bold {palette.BAD}"), wrong))


async def ask_price(app: App[Any], hour: PriceRate | None, guide: str = "") -> PriceRate | None:
    """Ask for the hourly price and whether to save it; return it, or ``hour`` on esc."""
    price = await app.push_screen_wait(HourPriceDialog(hour, guide))
    if price is None:
        return hour
    if (before := machine_rate.read_saved_price()) and before.usd == price.usd:
        return before
    if not await app.push_screen_wait(
        ConfirmDialog(texts.SAVE_PRICE, texts.describe_saved_price(), "save it", "this time only")
    ):
        return price
    try:
        machine_rate.save_price(price.usd)
    except FtwizardError as error:
        await app.push_screen_wait(ErrorDialog(error))
        return price
    return machine_rate.read_saved_price() or price
