"""Formatting of US dollar figures."""

from __future__ import annotations

import re
from decimal import Decimal

from ftwizard.catalog.prices import PriceRate
from ftwizard.quantity import Figure
from ftwizard.text import format_dollar_range, format_dollars, make_visible

UNKNOWN = "unknown"
_CENT = Decimal("0.01")


def format_price(figure: Figure | None) -> str:
    """Format an amount or its range: ``$3.60``, ``$3.36–24.00``; ``unknown`` for None."""
    if figure is None:
        return UNKNOWN
    if figure.low is None or figure.high is None:
        return format_dollars(figure.value)
    return format_dollar_range(figure.low, figure.high)


def format_unit_price(figure: Figure) -> str:
    """Format a price with its unit: ``$2.74 per hour``."""
    return f"{format_price(figure)} {figure.unit.removeprefix('USD ')}"


def describe_rate(rate: PriceRate) -> str:
    """Describe a price exactly, with its source: ``$1.50 per hour (your own (--price))``."""
    usd = rate.usd.quantize(_CENT) if rate.usd == round(rate.usd, 2) else rate.usd
    return f"${usd:,f} per {rate.unit} ({rate.source})"


# Parser for typed amounts in US dollars.

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


def parse_hourly_price(value: object) -> object:
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
    raise NoAmountError(f"“{make_visible(text, 40)}” is not an hourly price in US dollars.", hint)
