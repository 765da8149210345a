"""US dollar figures: computing and formatting."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from ftwizard.catalog.prices import PriceRate, to_figure
from ftwizard.quantity import Figure
from ftwizard.text import format_dollar_range, format_dollars

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


def multiply_price(
    amounts: Sequence[Decimal],
    rate: PriceRate,
    description: str,
    *,
    per: Decimal = Decimal(1),
    basis: str = "",
) -> Figure:
    """Return the US dollars for low, likely and high ``amounts``, of which ``per`` make one unit.

    The range covers that of the amounts and of the price. ``basis``: source of the amounts.
    """
    low, value, high = (
        amount * price / per for amount, price in zip(amounts, rate.range, strict=True)
    )
    source = f"{description} × {describe_rate(rate)}{basis and f'; {basis}'}"
    return to_figure(value, low, high, "USD", source, rate.as_of)
