"""Which part of x a chart shows: all, the newest part, or a part that a person holds on to."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ftwizard.screens.widgets.axes import nice_step
from ftwizard.series import Interval

# The right end moves on in jumps of at least an eighth of what is shown: a chart that shifts with
# every point cannot be read and costs bandwidth.
_JUMPS = 8


@dataclass(frozen=True)
class Extent:
    """Where the data begins and ends, and where it will end, if that is known."""

    first: float
    last: float
    total: float | None = None


@dataclass(frozen=True)
class View:
    """What a person chose to see."""

    span: float | None = None
    """Width of the window in units of x; None shows everything."""
    right: float | None = None
    """Right end that is held; None moves on with the data."""
    follow: bool = True
    """True ends the axis at the newest point, False where the run will end."""

    @property
    def is_held(self) -> bool:
        """Whether newer points may lie beyond the window."""
        return self.right is not None

    def window(self, extent: Extent) -> Interval:
        """Return the left and the right end of what is shown; left < right."""
        start, end = self._whole(extent)
        if self.span is None or self.span >= end - start:
            return start, end
        right = self._free_end(extent) if self.right is None else self.right
        right = min(max(right, start + self.span), end)
        return right - self.span, right

    def zoomed(self, factor: float, extent: Extent, *, at: float | None, least: float) -> View:
        """Return a view ``factor`` as wide, but not under ``least``.

        It keeps its right end, or ``at`` (if inside) where it stands on the screen.
        """
        x0, x1 = self.window(extent)
        start, end = self._whole(extent)
        span = max((x1 - x0) * factor, min(least, x1 - x0))
        if span >= end - start:
            return View(follow=self.follow)
        if at is None or not x0 <= at <= x1:
            return replace(self, span=span)
        right = at + (x1 - at) * span / (x1 - x0)
        return replace(self, span=span)._held_at(right, extent)

    def panned(self, part: float, extent: Extent) -> View:
        """Return a view moved by a part of its width; one that reaches the end follows again."""
        x0, x1 = self.window(extent)
        if self.span is None:
            return self
        return self._held_at(x1 + part * (x1 - x0), extent)

    def _held_at(self, right: float, extent: Extent) -> View:
        assert self.span is not None
        if right >= self._free_end(extent):
            return replace(self, right=None)
        return replace(self, right=max(right, self._whole(extent)[0] + self.span))

    def _whole(self, extent: Extent) -> Interval:
        """Return the ends of everything; the axis starts at 0 if the data starts near it."""
        end = self._end(extent, extent.last - min(extent.first, 0.0))
        start = 0.0 if 0 <= extent.first <= 0.1 * end else extent.first
        return start, end if end > start else start + 1

    def _free_end(self, extent: Extent) -> float:
        return self._end(extent, self.span or extent.last - extent.first)

    def _end(self, extent: Extent, span: float) -> float:
        """Return where the axis ends when nothing is held."""
        if not self.follow and extent.total is not None:
            return max(extent.total, extent.last)
        if span <= 0:
            return extent.last
        step = nice_step(span / _JUMPS)
        end = math.ceil(extent.last / step - 1e-9) * step
        if extent.total is not None and extent.last <= extent.total:
            end = min(end, extent.total)
        return max(end, extent.last)
