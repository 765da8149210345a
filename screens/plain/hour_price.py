"""The question for the hourly price in plain mode."""

from __future__ import annotations

from ftwizard.errors import FtwizardError
from ftwizard.pricing import machine_rate
from ftwizard.screens.draft import texts
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.plain.prompts import GoBack, Prompter

PRICE_HINT = "choose “set the hourly price” below"


def ask_hour(prompter: Prompter, draft: Draft) -> Draft:
    """Ask for the price and whether to save it; going back changes nothing."""
    prompter.explain(texts.HOUR_PRICE_REASON)
    if guide := texts.describe_rental(draft.estimate):
        prompter.note(guide)
    default = f"{draft.hour.usd:f}" if draft.hour else ""
    try:
        price = machine_rate.parse_typed_price(
            prompter.ask_line(
                f"{texts.HOUR_PRICE_QUESTION} {texts.HOUR_PRICE_NAME}",
                default,
                check=_validate_price,
            )
        )
        if (before := machine_rate.read_saved_price()) and before.usd == price.usd:
            return draft.with_hour_price(before)
        prompter.explain(texts.describe_saved_price())
        options = [("once", "no, this time only"), ("remember", "yes, save it")]
        keeps = prompter.choose(texts.SAVE_PRICE, options) == "remember"
    except GoBack:
        return draft
    try:
        if keeps:
            machine_rate.save_price(price.usd)
            return draft.with_hour_price(machine_rate.read_saved_price() or price)
    except FtwizardError as error:
        prompter.print_problem(error)
    return draft.with_hour_price(price)


def _validate_price(typed: str) -> str:
    try:
        machine_rate.parse_typed_price(typed)
    except FtwizardError as error:
        return error.text
    return ""
