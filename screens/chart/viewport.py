"""Visible range of a chart's x axis: all, the newest part, or a fixed part."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ftwizard.screens.chart.axes import round_step
from ftwizard.timeseries import Interval

# The right end moves in jumps of at least 1/8 of the window: a chart that shifts with every point
# is unreadable and costs bandwidth.
_JUMPS_PER_WINDOW = 8


@dataclass(frozen=True)
class Extent:
    """Start and end of the data, and its final end if known."""

    first: float
    last: float
    total: float | None = None


@dataclass(frozen=True)
class ChartWindow:
    """The part of the x axis that the user chose."""

    span: float | None = None
    """Width of the window in units of x; None shows everything."""
    right: float | None = None
    """Fixed right end; None follows the data."""
    follow: bool = True
    """True ends the axis at the newest point, False at the end of the run."""

    @property
    def is_fixed(self) -> bool:
        """Whether new points no longer move the window."""
        return self.right is not None

    def window(self, extent: Extent) -> Interval:
        """Return the left and right end of the visible range; left < right."""
        start, end = self._whole(extent)
        if self.span is None or self.span >= end - start:
            return start, end
        right = self._free_end(extent) if self.right is None else self.right
        right = min(max(right, start + self.span), end)
        return right - self.span, right

    def zoomed(
        self, factor: float, extent: Extent, *, at: float | None, min_span: float
    ) -> ChartWindow:
        """Return a window ``factor`` times as wide, but at least ``min_span``.

        The right end stays in place, or ``at`` if it is inside the window.
        """
        x0, x1 = self.window(extent)
        start, end = self._whole(extent)
        span = max((x1 - x0) * factor, min(min_span, x1 - x0))
        if span >= end - start:
            return ChartWindow(follow=self.follow)
        if at is None or not x0 <= at <= x1:
            return replace(self, span=span)
        right = at + (x1 - at) * span / (x1 - x0)
        return replace(self, span=span)._fixed_at(right, extent)

    def panned(self, share: float, extent: Extent) -> ChartWindow:
        """Return a window moved by a share of its width; at the end it follows again."""
        x0, x1 = self.window(extent)
        if self.span is None:
            return self
        return self._fixed_at(x1 + share * (x1 - x0), extent)

    def _fixed_at(self, right: float, extent: Extent) -> ChartWindow:
        assert self.span is not None
        if right >= self._free_end(extent):
            return replace(self, right=None)
        return replace(self, right=max(right, self._whole(extent)[0] + self.span))

    def _whole(self, extent: Extent) -> Interval:
        """Return the ends of all data; the axis starts at 0 if the data starts close to it."""
        end = self._end(extent, extent.last - min(extent.first, 0.0))
        start = 0.0 if 0 <= extent.first <= 0.1 * end else extent.first
        return start, end if end > start else start + 1

    def _free_end(self, extent: Extent) -> float:
        return self._end(extent, self.span or extent.last - extent.first)

    def _end(self, extent: Extent, span: float) -> float:
        """Return the end of the axis when it is not fixed."""
        if not self.follow and extent.total is not None:
            return max(extent.total, extent.last)
        if span <= 0:
            return extent.last
        step = round_step(span / _JUMPS_PER_WINDOW)
        end = math.ceil(extent.last / step - 1e-9) * step
        if extent.total is not None and extent.last <= extent.total:
            end = min(end, extent.total)
        return max(end, extent.last)
