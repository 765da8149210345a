"""The question for the hourly price in plain mode."""

from __future__ import annotations

from ftwizard.errors import FtwizardError
from ftwizard.pricing import machine_rate
from ftwizard.screens.costs import hour_price as hour_texts
from ftwizard.screens.plain.prompts import GoBack, Prompter
from ftwizard.screens.wizard.drafts import Draft

PRICE_HINT = "choose “set the hourly price” below"


def ask_hour(prompter: Prompter, draft: Draft) -> Draft:
    """Ask for the price and whether to save it; going back changes nothing."""
    prompter.explain(hour_texts.WHY)
    if guide := hour_texts.describe_rental(draft.estimate):
        prompter.note(guide)
    default = f"{draft.hour.usd:f}" if draft.hour else ""
    try:
        price = machine_rate.said(
            prompter.ask_line(
                f"{hour_texts.QUESTION} {hour_texts.NAME}", default, check=_validate_price
            )
        )
        if (before := machine_rate.remembered()) and before.usd == price.usd:
            return draft.priced(before)
        prompter.explain(hour_texts.describe_saving())
        options = [("once", "no, this time only"), ("remember", "yes, save it")]
        keeps = prompter.choose(hour_texts.REMEMBER, options) == "remember"
    except GoBack:
        return draft
    try:
        if keeps:
            machine_rate.remember(price.usd)
            return draft.priced(machine_rate.remembered() or price)
    except FtwizardError as error:
        prompter.print_problem(error)
    return draft.priced(price)


def _validate_price(typed: str) -> str:
    try:
        machine_rate.said(typed)
    except FtwizardError as error:
        return f"{error.message} {error.hint}"
    return ""
