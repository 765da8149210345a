"""What an hour of this machine costs, asked in a line."""

from __future__ import annotations

from ftwizard import hour_price
from ftwizard.errors import FtwizardError
from ftwizard.screens import hour_texts
from ftwizard.screens.draft import Draft
from ftwizard.screens.plain.asking import Asker, Back

HOW = "“say what an hour of this machine costs” below tells it"


def ask_hour(ask: Asker, draft: Draft) -> Draft:
    """Ask for the price, and whether to remember it; Back leaves everything as it is."""
    ask.explain(hour_texts.WHY)
    if guide := hour_texts.guide_of(draft.estimate):
        ask.note(guide)
    given = f"{draft.hour.usd:f}" if draft.hour else ""
    try:
        said = hour_price.said(
            ask.line(f"{hour_texts.QUESTION} {hour_texts.NAME}", given, check=_check)
        )
        if (before := hour_price.remembered()) and before.usd == said.usd:
            return draft.priced(before)
        ask.explain(hour_texts.remembering())
        options = [("once", "no, this time only"), ("remember", "yes, remember it")]
        keeps = ask.choose(hour_texts.REMEMBER, options) == "remember"
    except Back:
        return draft
    try:
        if keeps:
            hour_price.remember(said.usd)
            return draft.priced(hour_price.remembered() or said)
    except FtwizardError as error:
        ask.problem(error)
    return draft.priced(said)


def _check(typed: str) -> str:
    try:
        hour_price.said(typed)
    except FtwizardError as error:
        return f"{error.message} {error.hint}"
    return ""
