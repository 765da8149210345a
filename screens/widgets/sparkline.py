"""A series in one line of text."""

from __future__ import annotations

from collections.abc import Sequence

from ftwizard.series import Series

BARS = "▁▂▃▄▅▆▇█"


def sparkline(series: Series, cells: int) -> str:
    """Return at most ``cells`` bars, oldest first, each the middle of its share of the values.

    It costs O(cells), whatever the length of the series.
    """
    first, last = series.first_x, series.last_x
    if first is None or last is None:
        return ""
    columns = series.columns(first, last, min(cells, len(series)))
    middles = [None if c is None else (c[0] + c[1]) / 2 for c in columns]
    known = [m for m in middles if m is not None]
    if not known:
        return ""
    return bars(middles, min(known), max(known))


def bars(values: Sequence[float | None], low: float, high: float) -> str:
    """Return a bar for each value between ``low`` and ``high``, a blank for None."""
    span = (high - low) or 1.0
    return "".join(
        " " if v is None else BARS[round(min(1.0, max(0.0, (v - low) / span)) * (len(BARS) - 1))]
        for v in values
    )
