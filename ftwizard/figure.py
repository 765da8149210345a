"""A number that a person sees: with its unit, its range, and where it comes from."""

from __future__ import annotations

import msgspec


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure; ``low`` and ``high`` are its range, None where it is exact."""

    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    source: str
    """How it was found: counted, computed from what, measured where."""
    as_of: str | None = None
    """The date it holds for, where it may change."""
