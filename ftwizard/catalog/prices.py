"""Price table: dated and sourced rows in two editions, with user prices taking precedence."""

from __future__ import annotations

import calendar
import datetime
import functools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Literal

import msgspec

from ftwizard.catalog.sourced import Sourced, load_asset
from ftwizard.quantity import Figure

Edition = Literal["2026-04", "current"]
Kind = Literal[
    "training", "input", "cached", "output", "base_input", "base_output", "hosting", "gpu",
    "storage", "machine",
]  # fmt: skip
"""``gpu``: an hour of a rented GPU; ``machine``: an hour of the user's own machine."""
Market = Literal["spot", "on demand"]
Unit = Literal["million tokens", "hour", "month", "GB-month"]
Confidence = Literal["high", "medium", "low"]
ARTICLE: Edition = "2026-04"
STALE_DAYS = 90
"""Age in days above which a price should be looked up again."""
APART = Decimal("0.2")
"""Both editions are shown if they differ by more than this share of the lower price."""
_TRUST: dict[Confidence, int] = {"low": 0, "medium": 1, "high": 2}


class Price(Sourced, frozen=True, kw_only=True):
    """One price in US dollars per ``unit``, with date and source."""

    provider: str
    model: str
    """A model, a class of models, or a GPU."""
    kind: Kind
    unit: Unit
    usd: Decimal
    low: Decimal | None = None
    high: Decimal | None = None
    """Listed range, if any; it includes ``usd``."""
    market: Market | None = None
    """For GPUs only."""
    edition: Edition = "current"
    confidence: Confidence
    note: str = ""
    own: bool = False
    """Set by the user; takes precedence."""


class Discount(Sourced, frozen=True, kw_only=True):
    """A discount for sharing data with the provider."""

    provider: str
    kinds: tuple[Kind, ...]
    share: Decimal
    """Share of the price, 0–1."""
    confidence: Confidence
    note: str = ""


class PriceRate(msgspec.Struct, frozen=True, kw_only=True):
    """A price for computation: one row, or the median of several offers."""

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
        """Return it as a figure."""
        return to_figure(
            self.usd, self.low, self.high, f"USD per {self.unit}", self.source, self.as_of
        )


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """A price table; user prices replace packaged ones."""

    rows: tuple[Price, ...]
    discounts: tuple[Discount, ...] = ()

    def rates(
        self, provider: str, models: Sequence[str], kind: Kind, edition: Edition = "current"
    ) -> tuple[PriceRate | None, PriceRate | None]:
        """Return the price in ``edition``, and the other edition's if it differs enough to be shown.

        ``models``: names to look the price up under; the first with a price counts. None if unknown.
        """
        alike = [row for row in self.rows if row.provider == provider and row.kind == kind]
        article = _first(alike, models, ARTICLE)
        newest = _first(alike, models, "current")
        chosen, alternative = (article, newest) if edition == ARTICLE else (newest, article)
        rate = _rate(chosen) if chosen else None
        other_rate = _rate(alternative) if alternative else None
        return rate, other_rate if rate and other_rate and differ(
            rate.usd, other_rate.usd
        ) else None

    def gpu(
        self, card: str, market: Market, edition: Edition = "current"
    ) -> tuple[PriceRate | None, PriceRate | None]:
        """Return the hourly price of a GPU (median of the offers) in both editions, as ``rates``."""
        alike = [
            row for row in self.rows
            if row.kind == "gpu" and row.model == card and row.market == market
        ]  # fmt: skip
        newest = _merged(_newest_of_each(alike))
        article = _merged([row for row in alike if row.own or row.edition == ARTICLE])
        chosen, alternative = (article, newest) if edition == ARTICLE else (newest, article)
        return chosen, alternative if chosen and alternative and differ(
            chosen.usd, alternative.usd
        ) else None

    def machine(self) -> PriceRate | None:
        """Return the hourly price of the user's machine; None if not set."""
        row = next((candidate for candidate in self.rows if candidate.kind == "machine"), None)
        return _rate(row) if row else None

    def at(self, hour: PriceRate | None) -> Prices:
        """Return the table with this hourly price of the user's machine; None changes nothing."""
        if hour is None:
            return self
        own = Price(
            provider="own", model="machine", kind="machine", confidence="high", own=True,
            unit=hour.unit, usd=hour.usd, low=hour.low, high=hour.high, as_of=hour.as_of,
            source=hour.source,
        )  # fmt: skip
        return self.over([own])

    def cards(self, edition: Edition = "current") -> tuple[tuple[str, Market], ...]:
        """Return each GPU and market with a price in an edition, in table order."""
        pairs = {
            (row.model, row.market): None
            for row in self.rows
            if row.kind == "gpu" and row.market
        }  # fmt: skip
        return tuple((c, m) for c, m in pairs if m and self.gpu(c, m, edition)[0])

    def discount(self, provider: str, kind: Kind) -> Discount | None:
        """Return the discount on a price for sharing data; None if there is none."""
        fit = (
            discount
            for discount in self.discounts
            if discount.provider == provider and kind in discount.kinds
        )
        return next(fit, None)

    def over(self, own: Iterable[Price]) -> Prices:
        """Return the table with user prices that replace packaged ones; later ones win."""
        own = list(own)
        kept = [row for row in self.rows if not any(_same(row, new) for new in own)]
        last = [
            row for n, row in enumerate(own) if not any(_same(row, later) for later in own[n + 1 :])
        ]
        return msgspec.structs.replace(self, rows=(*last, *kept))


def packaged() -> Prices:
    """Return the packaged table; read once."""
    table = _packaged()
    return Prices(rows=table.prices, discounts=table.discounts)


def is_stale(as_of: str, today: datetime.date) -> bool:
    """Return whether a date (``2026-04``, ``2026-04-30``) is over ``STALE_DAYS`` ago.

    A month counts from its first day, to err on the side of looking up again.
    """
    return (today - parse_date(as_of)).days > STALE_DAYS


def stale_mark(as_of: str | None, today: datetime.date) -> str:
    """Return ``!`` if a date is over ``STALE_DAYS`` ago, else an empty string."""
    return "!" if as_of and is_stale(as_of, today) else ""


def differing_figures(
    shown: Mapping[str, Figure | None], other_edition: Mapping[str, Figure | None]
) -> dict[str, Figure]:
    """Return the figures of the other edition that differ clearly from the shown ones."""
    return {
        name: figure_there
        for name, figure_there in other_edition.items()
        if figure_there
        and (figure := shown.get(name))
        and differ(_exact(figure.value), _exact(figure_there.value))
    }


def _exact(value: float) -> Decimal:
    return Decimal(str(value))


def parse_date(as_of: str) -> datetime.date:
    """Parse ``2026-04-30``, or ``2026-04`` as its first day; ValueError for anything else."""
    return datetime.date.fromisoformat(as_of if len(as_of) > 7 else f"{as_of}-01")


def differ(price: Decimal, other_price: Decimal) -> bool:
    """Return whether two prices differ by more than ``APART``."""
    return abs(price - other_price) > APART * min(price, other_price)


def to_figure(
    value: Decimal, low: Decimal | None, high: Decimal | None, unit: str, source: str,
    as_of: str | None,
) -> Figure:  # fmt: skip
    """Build a figure from exact amounts; an empty range is left out."""
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
    """Return the price of the first name with one: the user's, else the newest."""
    for name in models:
        named = [row for row in rows if row.model == name]
        if edition == ARTICLE:
            named = [row for row in named if row.own or row.edition == ARTICLE]
        if named:
            return max(named, key=_order)
    return None


def _order(row: Price) -> tuple[bool, datetime.date, int]:
    return row.own, _last_day(row.as_of), _TRUST[row.confidence]


def _last_day(as_of: str) -> datetime.date:
    """Return the last day of a month, so it does not sort before its days."""
    day = parse_date(as_of)
    if len(as_of) > 7:
        return day
    return day.replace(day=calendar.monthrange(day.year, day.month)[1])


def _newest_of_each(rows: list[Price]) -> list[Price]:
    """Return the newest offer of each provider, without relatively old ones; the article's general
    offer only if there is no other."""
    if own := [row for row in rows if row.own]:
        return own
    newest_by_provider: dict[str, Price] = {}
    for row in sorted(rows, key=_order):
        newest_by_provider[row.provider] = row
    later = [row for row in newest_by_provider.values() if row.edition != ARTICLE] or list(
        newest_by_provider.values()
    )
    newest = max((_last_day(row.as_of) for row in later), default=None)
    return [row for row in later if newest and not is_stale(row.as_of, newest)]


def _merged(rows: list[Price]) -> PriceRate | None:
    if own := [row for row in rows if row.own]:
        rows = own[:1]
    if len(rows) <= 1:
        return _rate(rows[0]) if rows else None
    names = ", ".join(dict.fromkeys(row.provider for row in rows))
    sources = "; ".join(dict.fromkeys(row.source for row in rows))
    return PriceRate(
        usd=statistics.median(row.usd for row in rows),
        low=min(row.usd if row.low is None else row.low for row in rows),
        high=max(row.usd if row.high is None else row.high for row in rows),
        unit=rows[0].unit,
        source=f"median of {names} ({sources})",
        as_of=min((row.as_of for row in rows), key=_last_day),
        confidence=min((row.confidence for row in rows), key=_TRUST.__getitem__),
    )


def _rate(row: Price) -> PriceRate:
    return PriceRate(
        usd=row.usd, low=row.low, high=row.high, unit=row.unit, source=row.source, as_of=row.as_of,
        confidence=row.confidence, note=row.note, own=row.own,
    )  # fmt: skip


def _same(row: Price, other_row: Price) -> bool:
    """Return whether two rows price the same thing; for GPUs the provider does not matter."""
    if row.kind != other_row.kind or row.model != other_row.model or row.market != other_row.market:
        return False
    return row.kind == "gpu" or row.provider == other_row.provider


class _Packaged(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    prices: tuple[Price, ...]
    discounts: tuple[Discount, ...]
    sources: dict[str, str]


@functools.cache
def _packaged() -> _Packaged:
    return load_asset("prices.toml", _Packaged, parse_float=Decimal)
