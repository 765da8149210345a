"""What things cost: dated, sourced rows in two editions, and a person's own prices over them."""

from __future__ import annotations

import calendar
import datetime
import functools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Literal

import msgspec

from ftwizard.catalog.sourced import Sourced, asset
from ftwizard.figure import Figure

Edition = Literal["2026-04", "current"]
Kind = Literal[
    "training", "input", "cached", "output", "base_input", "base_output", "hosting", "gpu",
    "storage", "machine",
]  # fmt: skip
"""``gpu``: an hour of a card that is rented; ``machine``: an hour of the user's own machine, which
only its user knows."""
Market = Literal["spot", "on demand"]
Unit = Literal["million tokens", "hour", "month", "GB-month"]
Confidence = Literal["high", "medium", "low"]
ARTICLE: Edition = "2026-04"
STALE_DAYS = 90
"""A price older than this is to be looked up again (SPEC C4)."""
APART = Decimal("0.2")
"""Where two editions differ by more than this share of the lower one, both are shown."""
_TRUST: dict[Confidence, int] = {"low": 0, "medium": 1, "high": 2}


class Price(Sourced, frozen=True, kw_only=True):
    """One price of one date and source, in US dollars per ``unit``."""

    provider: str
    model: str
    """A model; a class of models; of a GPU the card."""
    kind: Kind
    unit: Unit
    usd: Decimal
    low: Decimal | None = None
    high: Decimal | None = None
    """Where a range is listed; ``usd`` lies within."""
    market: Market | None = None
    """Of a GPU."""
    edition: Edition = "current"
    confidence: Confidence
    note: str = ""
    own: bool = False
    """Set by the user, who is always right."""


class Discount(Sourced, frozen=True, kw_only=True):
    """What a provider takes off for sharing data with it."""

    provider: str
    kinds: tuple[Kind, ...]
    share: Decimal
    """Of the price."""
    confidence: Confidence
    note: str = ""


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """A price to compute with: one row, or the middle of several offers of the same thing."""

    usd: Decimal
    low: Decimal | None = None
    high: Decimal | None = None
    unit: Unit
    source: str
    as_of: str
    confidence: Confidence
    note: str = ""
    own: bool = False

    def figure(self) -> Figure:
        """Return it as a person sees it."""
        return money(self.usd, self.low, self.high, f"USD per {self.unit}", self.source, self.as_of)


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """A table of prices; the user's own stand over the packaged ones."""

    rows: tuple[Price, ...]
    discounts: tuple[Discount, ...] = ()

    def rates(
        self, provider: str, models: Sequence[str], kind: Kind, edition: Edition = "current"
    ) -> tuple[Rate | None, Rate | None]:
        """Return the price in ``edition``, and the other edition's where both are to be shown.

        ``models``: names that the price may stand under, the first that has one counts. None where
        it is not known.
        """
        alike = [one for one in self.rows if one.provider == provider and one.kind == kind]
        article = _first(alike, models, ARTICLE)
        newest = _first(alike, models, "current")
        chosen, other = (article, newest) if edition == ARTICLE else (newest, article)
        rate = _rate(chosen) if chosen else None
        beside = _rate(other) if other else None
        return rate, beside if rate and beside and apart(rate.usd, beside.usd) else None

    def gpu(
        self, card: str, market: Market, edition: Edition = "current"
    ) -> tuple[Rate | None, Rate | None]:
        """Return the price of an hour of one card, as ``rates``: the middle of the offers."""
        alike = [
            one for one in self.rows
            if one.kind == "gpu" and one.model == card and one.market == market
        ]  # fmt: skip
        newest = _merged(_newest_of_each(alike))
        article = _merged([one for one in alike if one.own or one.edition == ARTICLE])
        chosen, other = (article, newest) if edition == ARTICLE else (newest, article)
        return chosen, other if chosen and other and apart(chosen.usd, other.usd) else None

    def machine(self) -> Rate | None:
        """Return the price of an hour of the user's own machine; None where it was not said."""
        found = next((one for one in self.rows if one.kind == "machine"), None)
        return _rate(found) if found else None

    def at(self, hour: Rate | None) -> Prices:
        """Return the table in which an hour of the user's machine costs that; None changes none."""
        if hour is None:
            return self
        own = Price(
            provider="own", model="machine", kind="machine", confidence="high", own=True,
            unit=hour.unit, usd=hour.usd, low=hour.low, high=hour.high, as_of=hour.as_of,
            source=hour.source,
        )  # fmt: skip
        return self.over([own])

    def cards(self, edition: Edition = "current") -> tuple[tuple[str, Market], ...]:
        """Return each card and market that has a price in an edition, in the table's order."""
        found = {
            (one.model, one.market): None
            for one in self.rows
            if one.kind == "gpu" and one.market
        }  # fmt: skip
        return tuple((c, m) for c, m in found if m and self.gpu(c, m, edition)[0])

    def discount(self, provider: str, kind: Kind) -> Discount | None:
        """Return what is taken off a price for sharing data."""
        fit = (one for one in self.discounts if one.provider == provider and kind in one.kinds)
        return next(fit, None)

    def over(self, own: Iterable[Price]) -> Prices:
        """Return the table with a person's own prices over it; a later one wins."""
        own = list(own)
        kept = [one for one in self.rows if not any(_same(one, new) for new in own)]
        last = [one for n, one in enumerate(own) if not any(_same(one, o) for o in own[n + 1 :])]
        return msgspec.structs.replace(self, rows=(*last, *kept))


def packaged() -> Prices:
    """Return the packaged table; read once."""
    found = _packaged()
    return Prices(rows=found.prices, discounts=found.discounts)


def stale(as_of: str, today: datetime.date) -> bool:
    """Say whether a date (``2026-04``, ``2026-04-30``) is over ``STALE_DAYS`` ago.

    A month counts from its first day: better to look up once too often.
    """
    return (today - date_of(as_of)).days > STALE_DAYS


def mark(as_of: str | None, today: datetime.date) -> str:
    """Return what stands behind a date: ``!`` where it is over ``STALE_DAYS`` ago, else nothing."""
    return "!" if as_of and stale(as_of, today) else ""


def differing(
    shown: Mapping[str, Figure | None], other: Mapping[str, Figure | None]
) -> dict[str, Figure]:
    """Return the figures of the other edition that are apart from the ones that are shown."""
    return {
        name: beside
        for name, beside in other.items()
        if beside and (one := shown.get(name)) and apart(_exact(one.value), _exact(beside.value))
    }


def _exact(value: float) -> Decimal:
    return Decimal(str(value))


def date_of(as_of: str) -> datetime.date:
    """Return the day of ``2026-04-30``, the first of ``2026-04``; ValueError for another text."""
    return datetime.date.fromisoformat(as_of if len(as_of) > 7 else f"{as_of}-01")


def apart(one: Decimal, other: Decimal) -> bool:
    """Say whether two prices differ by more than ``APART``."""
    return abs(one - other) > APART * min(one, other)


def money(
    value: Decimal, low: Decimal | None, high: Decimal | None, unit: str, source: str,
    as_of: str | None,
) -> Figure:  # fmt: skip
    """Return exact amounts as a figure; a range that is none is left out."""
    if (low is None or low == value) and (high is None or high == value):
        low = high = None
    return Figure(
        value=float(value),
        unit=unit,
        low=None if low is None else float(low),
        high=None if high is None else float(high),
        source=source,
        as_of=as_of,
    )


def _first(rows: list[Price], models: Sequence[str], edition: Edition) -> Price | None:
    """Return the price under the first name that has one: the user's, else the newest."""
    for name in models:
        named = [one for one in rows if one.model == name]
        if edition == ARTICLE:
            named = [one for one in named if one.own or one.edition == ARTICLE]
        if named:
            return max(named, key=_order)
    return None


def _order(one: Price) -> tuple[bool, datetime.date, int]:
    return one.own, _last_day(one.as_of), _TRUST[one.confidence]


def _last_day(as_of: str) -> datetime.date:
    """Return the last day of a month, so that it is not older than one of its days."""
    day = date_of(as_of)
    if len(as_of) > 7:
        return day
    return day.replace(day=calendar.monthrange(day.year, day.month)[1])


def _newest_of_each(rows: list[Price]) -> list[Price]:
    """Return the newest offer of each provider, without those that are old beside the others; the
    article's general one only where it is alone."""
    if own := [one for one in rows if one.own]:
        return own
    found: dict[str, Price] = {}
    for one in sorted(rows, key=_order):
        found[one.provider] = one
    later = [one for one in found.values() if one.edition != ARTICLE] or list(found.values())
    newest = max((_last_day(one.as_of) for one in later), default=None)
    return [one for one in later if newest and not stale(one.as_of, newest)]


def _merged(rows: list[Price]) -> Rate | None:
    if own := [one for one in rows if one.own]:
        rows = own[:1]
    if len(rows) <= 1:
        return _rate(rows[0]) if rows else None
    names = ", ".join(dict.fromkeys(one.provider for one in rows))
    sources = "; ".join(dict.fromkeys(one.source for one in rows))
    return Rate(
        usd=statistics.median(one.usd for one in rows),
        low=min(one.usd if one.low is None else one.low for one in rows),
        high=max(one.usd if one.high is None else one.high for one in rows),
        unit=rows[0].unit,
        source=f"median of {names} ({sources})",
        as_of=min((one.as_of for one in rows), key=_last_day),
        confidence=min((one.confidence for one in rows), key=_TRUST.__getitem__),
    )


def _rate(one: Price) -> Rate:
    return Rate(
        usd=one.usd, low=one.low, high=one.high, unit=one.unit, source=one.source, as_of=one.as_of,
        confidence=one.confidence, note=one.note, own=one.own,
    )  # fmt: skip


def _same(one: Price, other: Price) -> bool:
    """Say whether two rows price the same thing; of a GPU any provider's."""
    if one.kind != other.kind or one.model != other.model or one.market != other.market:
        return False
    return one.kind == "gpu" or one.provider == other.provider


class _Packaged(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    prices: tuple[Price, ...]
    discounts: tuple[Discount, ...]
    sources: dict[str, str]


@functools.cache
def _packaged() -> _Packaged:
    return asset("prices.toml", _Packaged, parse_float=Decimal)
