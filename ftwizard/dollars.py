"""Formatting of US dollar figures."""

from __future__ import annotations

from ftwizard.figure import Figure
from ftwizard.text import dollar_range, dollars

UNKNOWN = "unknown"


def amount(value: float) -> str:
    """Format US dollars with the significant digits: ``$0.004``, ``$112.50``, ``$1,240``."""
    return dollars(value)


def span(figure: Figure | None) -> str:
    """Format an amount or its range: ``$3.60``, ``$3.36–24.00``; ``unknown`` for None."""
    if figure is None:
        return UNKNOWN
    if figure.low is None or figure.high is None or figure.low == figure.high:
        return amount(figure.value)
    return dollar_range(figure.low, figure.high)
