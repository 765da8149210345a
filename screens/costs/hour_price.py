"""The hourly price of this machine: its dialog, and whether to save it."""

from __future__ import annotations

from typing import Any

from rich.text import Text
from textual.app import App

from ftwizard.catalog.prices import PriceRate
from ftwizard.errors import FtwizardError
from ftwizard.pricing import machine_rate
from ftwizard.screens.dialogs.dialog import ErrorDialog
from ftwizard.screens.dialogs.forms import FormDialog
from ftwizard.screens.dialogs.questions import ConfirmDialog
from ftwizard.screens.draft import texts
from ftwizard.screens.draft.drafts import Draft


class HourPriceDialog(FormDialog[PriceRate]):
    """Asks for the price; shows the typical rental price of a draft's GPU."""

    def __init__(self, draft: Draft) -> None:
        super().__init__(
            texts.HOUR_PRICE_QUESTION,
            texts.HOUR_PRICE_REASON,
            Text(texts.describe_rental(draft.estimate), "dim"),
            fields=[(texts.HOUR_PRICE_NAME, f"{draft.hour.usd:f}" if draft.hour else "")],
        )

    def parse(self, typed: list[str]) -> PriceRate:
        return machine_rate.parse_typed_price(typed[0])

    def show_problem(self, problem: str) -> None:
        super().show_problem(problem)
        self.query(".details").set(display=not problem)  # both do not fit on a small terminal


async def ask_price(app: App[Any], draft: Draft) -> Draft:
    """Ask for the hourly price and whether to save it; Esc changes nothing."""
    price = await app.push_screen_wait(HourPriceDialog(draft))
    if price is None:
        return draft
    saved = machine_rate.read_saved_price()
    if saved and saved.usd == price.usd:
        return draft.with_hour_price(saved)
    if await app.push_screen_wait(
        ConfirmDialog(texts.SAVE_PRICE, texts.describe_saved_price(), "save it", "this time only")
    ):
        try:
            machine_rate.save_price(price.usd)
            price = machine_rate.read_saved_price() or price
        except FtwizardError as error:
            await app.push_screen_wait(ErrorDialog(error))
    return draft.with_hour_price(price)
