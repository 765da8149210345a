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


class PriceRate(Sourced, frozen=True, kw_only=True):
    """A price in US dollars per ``unit``: one row, or the median of several offers."""

    usd: Decimal
    low: Decimal | None = None
    high: Decimal | None = None
    """Listed range, if any; it includes ``usd``."""
    unit: Unit
    confidence: Confidence
    note: str = ""
    own: bool = False
    """Set by the user; takes precedence."""

    @property
    def range(self) -> tuple[Decimal, Decimal, Decimal]:
        """Return the low, likely and high price."""
        low = self.usd if self.low is None else self.low
        return low, self.usd, self.usd if self.high is None else self.high

    def times(self, count: int) -> PriceRate:
        """Return the price of ``count`` at once, such as of several machines."""
        if count == 1:
            return self
        low, high = (edge if edge is None else edge * count for edge in (self.low, self.high))
        source = f"{self.source}, times {count}"
        return msgspec.structs.replace(
            self, usd=self.usd * count, low=low, high=high, source=source
        )

    def figure(self) -> Figure:
        """Return it as a figure."""
        return to_figure(
            self.usd, self.low, self.high, f"USD per {self.unit}", self.source, self.as_of
        )


class Price(PriceRate, frozen=True, kw_only=True):
    """One row of the table: what the price is for."""

    provider: str
    model: str
    """A model, a class of models, or a GPU."""
    kind: Kind
    market: Market | None = None
    """For GPUs only."""
    edition: Edition = "current"


class Discount(Sourced, frozen=True, kw_only=True):
    """A discount for sharing data with the provider."""

    provider: str
    kinds: tuple[Kind, ...]
    share: Decimal
    """Share of the price, 0–1."""
    confidence: Confidence
    note: str = ""


RatePair = tuple[PriceRate | None, PriceRate | None]
"""The price in an edition, and the other edition's if it differs enough to be shown."""


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """A price table; user prices replace packaged ones."""

    rows: tuple[Price, ...] = msgspec.field(name="prices")
    discounts: tuple[Discount, ...] = ()

    def rates(
        self, provider: str, models: Sequence[str], kind: Kind, edition: Edition = "current"
    ) -> RatePair:
        """Return the price in ``edition``, and the other edition's if it differs enough to be shown.

        ``models``: names to look the price up under; the first with a price counts. None if unknown.
        """
        alike = [row for row in self.rows if row.provider == provider and row.kind == kind]
        newest, article = (_first(alike, models, source) for source in ("current", ARTICLE))
        return _pair_editions(newest, article, edition)

    def gpu(self, card: str, market: Market, edition: Edition = "current") -> RatePair:
        """Return the hourly price of a GPU (median of the offers) in both editions, as ``rates``."""
        alike = [
            row for row in self.rows
            if row.kind == "gpu" and row.model == card and row.market == market
        ]  # fmt: skip
        article = _merged([row for row in alike if row.own or row.edition == ARTICLE])
        return _pair_editions(_merged(_newest_of_each(alike)), article, edition)

    def machine(self) -> PriceRate | None:
        """Return the hourly price of the user's machine; None if not set."""
        for row in self.rows:
            if row.kind == "machine":
                return PriceRate(
                    **{name: getattr(row, name) for name in PriceRate.__struct_fields__}
                )
        return None

    def at(self, hour: PriceRate | None) -> Prices:
        """Return the table with this hourly price of the user's machine; None changes nothing."""
        if hour is None:
            return self
        fields = msgspec.structs.asdict(hour) | {"own": True}
        return self.over([Price(provider="own", model="machine", kind="machine", **fields)])

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
        for discount in self.discounts:
            if discount.provider == provider and kind in discount.kinds:
                return discount
        return None

    def over(self, own: Iterable[Price]) -> Prices:
        """Return the table with user prices that replace packaged ones; later ones win."""
        last = {_get_subject(row): row for row in own}
        kept = (row for row in self.rows if _get_subject(row) not in last)
        return msgspec.structs.replace(self, rows=(*last.values(), *kept))


@functools.cache
def packaged() -> Prices:
    """Return the packaged table; read once."""
    return load_asset("prices.toml", Prices, parse_float=Decimal)


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
        and differ(to_decimal(figure.value), to_decimal(figure_there.value))
    }


def to_decimal(value: float) -> Decimal:
    """Return the decimal with the digits of the float's repr."""
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
    if low in (None, value) and high in (None, value):
        low = high = None
    return Figure(
        value=float(value),
        unit=unit,
        low=None if low is None else float(low),
        high=None if high is None else float(high),
        source=source,
        as_of=as_of,
    )


def _pair_editions(
    newest: PriceRate | None, article: PriceRate | None, edition: Edition
) -> RatePair:
    shown, other = (article, newest) if edition == ARTICLE else (newest, article)
    return shown, other if shown and other and differ(shown.usd, other.usd) else None


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
    by_provider = {row.provider: row for row in sorted(rows, key=_order)}
    offers = list(by_provider.values())
    later = [row for row in offers if row.edition != ARTICLE] or offers
    newest = max((_last_day(row.as_of) for row in later), default=None)
    return [row for row in later if newest and not is_stale(row.as_of, newest)]


def _merged(rows: list[Price]) -> PriceRate | None:
    if own := [row for row in rows if row.own]:
        rows = own[:1]
    if len(rows) <= 1:
        return rows[0] if rows else None
    names = ", ".join(dict.fromkeys(row.provider for row in rows))
    sources = "; ".join(dict.fromkeys(row.source for row in rows))
    return PriceRate(
        usd=statistics.median(row.usd for row in rows),
        low=min(row.range[0] for row in rows),
        high=max(row.range[2] for row in rows),
        unit=rows[0].unit,
        source=f"median of {names} ({sources})",
        as_of=min((row.as_of for row in rows), key=_last_day),
        confidence=min((row.confidence for row in rows), key=_TRUST.__getitem__),
    )


def _get_subject(row: Price) -> tuple[Kind, str, Market | None, str]:
    """Return what a row is the price of; for GPUs the provider does not matter."""
    return row.kind, row.model, row.market, "" if row.kind == "gpu" else row.provider
