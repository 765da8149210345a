"""Amounts of US dollars as a person types them."""

from __future__ import annotations

import re

from ftwizard.text import visible

CURRENCIES = ("eur", "euro", "gbp", "chf", "inr", "cny", "jpy", "cad", "aud", "€", "£", "¥", "₹")
"""Others that are typed."""
CONVERT = "Prices are in US dollars: convert it, and write the dollars."
_HOURLY = re.compile(
    r"(?:usd\s*|\$\s*)?(\d[\d_]*(?:\.\d+)?|\.\d+)\s*(?:usd|\$|dollars?)?\s*"
    r"(?:(?:/|per|an|a)\s*(?:h|hr|hour))?",
    re.IGNORECASE,
)


class NoAmountError(Exception):
    """What was typed is no amount."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.problem, self.hint = problem, hint


def hourly(value: object) -> object:
    """Return the digits of a text such as ``1.50``, ``$1.50/h``, ``1.5 USD an hour``.

    What is no text is returned as it is. Raises NoAmountError with what is wrong and what to do.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if found := _HOURLY.fullmatch(text):
        return found[1]
    if any(one in text.lower() for one in CURRENCIES):
        hint = CONVERT
    elif re.search(r"(?:/|\bper\b|\ban?\b)\s*[a-z]+\.?$", text, re.IGNORECASE):
        hint = "Say what an hour costs: of a day divide by 24, of a month by 730."
    elif re.fullmatch(r"\$?\s*\d+,\d+", text):
        hint = f"Write it with a point, no comma: {text.replace(',', '.')}"
    else:
        hint = "US dollars an hour, like 1.50."
    raise NoAmountError(f"“{visible(text, 40)}” is no amount of US dollars an hour.", hint)
