"""Figures for display: values with unit, range, source and date."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

import msgspec


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A value with its range: ``low`` and ``high`` are None if it is exact; ``low`` alone is a lower
    bound."""

    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    source: str
    """Origin: counted, computed from what, or measured where."""
    as_of: str | None = None
    """Date of the price, measurement or check behind it. None only in records of older versions."""
    short_source: str | msgspec.UnsetType = msgspec.UNSET
    """The origin in a few words, if ``source`` is long."""

    @property
    def lowest(self) -> float:
        return self.value if self.low is None else self.low

    @property
    def highest(self) -> float:
        return self.value if self.high is None else self.high

    @property
    def has_range(self) -> bool:
        return self.lowest != self.highest

    def scaled(self, factor: float, source: str, unit: str = "") -> Figure:
        """Return the figure and its range multiplied by ``factor``, by default in the same unit."""
        return Figure(
            value=self.value * factor,
            unit=unit or self.unit,
            low=None if self.low is None else self.low * factor,
            high=None if self.high is None else self.high * factor,
            source=source,
            as_of=self.as_of,
        )

    @property
    def brief_source(self) -> str:
        """Return the shortest description of the origin."""
        return self.source if self.short_source is msgspec.UNSET else self.short_source


class EndDate(msgspec.Struct, frozen=True, kw_only=True, order=True):
    date: datetime.date
    source: str
    """The announcement."""
    as_of: str
    """When the announcement was read."""

    @property
    def citation(self) -> str:
        return f"({self.source}, as of {self.as_of})"


def today() -> str:
    """Return today's date for figures that are computed now."""
    return str(datetime.date.today())


def oldest_date(dates: Iterable[str | None]) -> str | None:
    """Return the earliest of some dates (``2026-04``, ``2026-11-25``); None if there is none."""
    return min(filter(None, dates), default=None)
