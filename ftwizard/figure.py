"""A number that a person sees: with its unit, its range, and where it comes from."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

import msgspec


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure; ``low`` and ``high`` are its range, None where it is exact; ``low`` alone: from there
    up."""

    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    source: str
    """How it was found: counted, computed from what, measured where."""
    as_of: str | None = None
    """The date it holds for: of the price, the measurement or the check that it rests on. None only in
    what an older version wrote."""


class Day(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A day on which something ends, as somebody announced it."""

    date: datetime.date
    source: str
    """Where it is announced."""
    as_of: str
    """When that was read."""

    @property
    def said(self) -> str:
        """Return where and when it was read, in brackets."""
        return f"({self.source}, as of {self.as_of})"


def today() -> str:
    """Return the date of what is counted now: rows, settings, what was asked for."""
    return str(datetime.date.today())


def oldest(dates: Iterable[str | None]) -> str | None:
    """Return the first of some dates (``2026-04``, ``2026-11-25``), which all hold together."""
    return min(filter(None, dates), default=None)
