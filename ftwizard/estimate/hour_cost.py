"""Cost by the hour: time × hourly price of the machine, in Decimal."""

from __future__ import annotations

from decimal import Decimal

from ftwizard.catalog.prices import Rate, money
from ftwizard.figure import Figure

_HOUR = Decimal(3600)
_CENT = Decimal("0.01")


def dollars(seconds: float, usd_an_hour: Decimal) -> Decimal:
    """Return the US dollars for ``seconds`` at an hourly price, unrounded."""
    return Decimal(repr(float(seconds))) * usd_an_hour / _HOUR


def so_far(seconds: float, hour: Rate, description: str = "the time so far") -> Figure:
    """Return the cost of measured ``seconds``, as a range if the price has one.

    ``description``: description of the time. For budgets use ``dollars``, which is not rounded.
    """
    return _figure((seconds, seconds, seconds), hour, description)


def cost(
    time: Figure | None, hour: Rate | None, description: str = "the time of the run"
) -> Figure | None:
    """Return the US dollars for an expected time (seconds); None if time or price is unknown.

    The range covers that of the time and of the price.
    """
    if time is None or hour is None:
        return None
    low = time.value if time.low is None else time.low
    high = time.value if time.high is None else time.high
    return _figure((low, time.value, high), hour, description)


def _figure(seconds: tuple[float, float, float], hour: Rate, description: str) -> Figure:
    low = dollars(seconds[0], hour.usd if hour.low is None else hour.low)
    high = dollars(seconds[2], hour.usd if hour.high is None else hour.high)
    source = f"{description} × {words(hour)}"
    return money(dollars(seconds[1], hour.usd), low, high, "USD", source, hour.as_of)


def words(hour: Rate) -> str:
    """Describe an hourly price: ``$1.50 per hour (your own (--price))``."""
    usd = hour.usd.quantize(_CENT) if hour.usd == round(hour.usd, 2) else hour.usd
    return f"${usd:,f} per hour ({hour.source})"
