"""Sparklines: a series in one line of text."""

from __future__ import annotations

from collections.abc import Sequence

from ftwizard.timeseries import Series

BARS = "▁▂▃▄▅▆▇█"


def draw_sparkline(series: Series, cells: int) -> str:
    """Return at most ``cells`` bars, oldest first, each the mid-range of its values.

    Takes O(cells), independent of the length of the series.
    """
    first, last = series.first_x, series.last_x
    if first is None or last is None:
        return ""
    columns = series.columns(first, last, min(cells, len(series)))
    midpoints = [None if c is None else (c[0] + c[1]) / 2 for c in columns]
    values = [midpoint for midpoint in midpoints if midpoint is not None]
    return draw_bars(midpoints, min(values), max(values)) if values else ""


def draw_bars(values: Sequence[float | None], low: float, high: float) -> str:
    """Return a bar per value between ``low`` and ``high``, a blank for None."""
    span = (high - low) or 1.0
    return "".join(
        " " if v is None else BARS[round(min(1.0, max(0.0, (v - low) / span)) * (len(BARS) - 1))]
        for v in values
    )
