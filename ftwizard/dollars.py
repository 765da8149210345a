"""US dollars in words: with as many digits as matter."""

from __future__ import annotations

from ftwizard.figure import Figure
from ftwizard.text import dollar_range, dollars

UNKNOWN = "unknown"


def amount(value: float) -> str:
    """Write US dollars with as many digits as matter: ``$0.004``, ``$112.50``, ``$1,240``."""
    return dollars(value)


def span(figure: Figure | None) -> str:
    """Write an amount or its range: ``$3.60``, ``$3.36–24.00``; ``unknown`` where it is not known."""
    if figure is None:
        return UNKNOWN
    if figure.low is None or figure.high is None or figure.low == figure.high:
        return amount(figure.value)
    return dollar_range(figure.low, figure.high)
