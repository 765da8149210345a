"""Money by the hour: a time × the price of an hour of the machine, in Decimal."""

from __future__ import annotations

from decimal import Decimal

from ftwizard.catalog.prices import Rate, money
from ftwizard.figure import Figure

_HOUR = Decimal(3600)
_CENT = Decimal("0.01")


def dollars(seconds: float, usd_an_hour: Decimal) -> Decimal:
    """Return US dollars of ``seconds`` at a price an hour, unrounded."""
    return Decimal(repr(float(seconds))) * usd_an_hour / _HOUR


def so_far(seconds: float, hour: Rate, what: str = "the time so far") -> Figure:
    """Return what ``seconds`` that were measured have cost; a range where the price is one.

    ``what``: the time, in words. For a budget compare ``dollars`` with it, which is not rounded.
    """
    return _figure((seconds, seconds, seconds), hour, what)


def cost(
    time: Figure | None, hour: Rate | None, what: str = "the time of the run"
) -> Figure | None:
    """Return US dollars of a time (``s``) that is expected; None where time or price is not known.

    The range is that of the time, and of the price where it has one.
    """
    if time is None or hour is None:
        return None
    low = time.value if time.low is None else time.low
    high = time.value if time.high is None else time.high
    return _figure((low, time.value, high), hour, what)


def _figure(seconds: tuple[float, float, float], hour: Rate, what: str) -> Figure:
    low = dollars(seconds[0], hour.usd if hour.low is None else hour.low)
    high = dollars(seconds[2], hour.usd if hour.high is None else hour.high)
    source = f"{what} × {words(hour)}"
    return money(dollars(seconds[1], hour.usd), low, high, "USD", source, hour.as_of)


def words(hour: Rate) -> str:
    """Return a price an hour in words: ``$1.50 an hour (your own (--price))``."""
    usd = hour.usd.quantize(_CENT) if hour.usd == round(hour.usd, 2) else hour.usd
    return f"${usd:,f} an hour ({hour.source})"
