"""Parser for typed amounts in US dollars."""

from __future__ import annotations

import re

from ftwizard.text import visible

CURRENCIES = ("eur", "euro", "gbp", "chf", "inr", "cny", "jpy", "cad", "aud", "€", "£", "¥", "₹")
"""Other currencies that people type."""
CONVERT = "Prices are in US dollars. Convert the amount to dollars."
_HOURLY = re.compile(
    r"(?:usd\s*|\$\s*)?(\d[\d_]*(?:\.\d+)?|\.\d+)\s*(?:usd|\$|dollars?)?\s*"
    r"(?:(?:/|per|an|a)\s*(?:h|hr|hour))?",
    re.IGNORECASE,
)


class NoAmountError(Exception):
    """The typed text is not an amount."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.problem, self.hint = problem, hint


def hourly(value: object) -> object:
    """Return the digits of a text such as ``1.50``, ``$1.50/h``, ``1.5 USD an hour``.

    Other types are returned unchanged. Raises NoAmountError with the problem and a hint.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if match := _HOURLY.fullmatch(text):
        return match[1]
    if any(currency in text.lower() for currency in CURRENCIES):
        hint = CONVERT
    elif re.search(r"(?:/|\bper\b|\ban?\b)\s*[a-z]+\.?$", text, re.IGNORECASE):
        hint = "Enter the hourly price: divide a daily price by 24, a monthly price by 730."
    elif re.fullmatch(r"\$?\s*\d+,\d+", text):
        hint = f"Use a decimal point, not a comma: {text.replace(',', '.')}"
    else:
        hint = "Enter US dollars per hour, like 1.50."
    raise NoAmountError(f"“{visible(text, 40)}” is not an hourly price in US dollars.", hint)
