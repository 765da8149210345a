"""A growing series of measurements, drawable in time proportional to the width of a screen."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import inf, isfinite, nan

_FAN = 16
"""Entries of a level that an entry of the next level summarizes. A query reads at most 2 x 16
entries per level; a million points have five levels."""

Interval = tuple[float, float]


class Series:
    """Points (x, y) in order of x, with a min/max pyramid over y.

    Level 0 holds the points themselves; an entry of level k + 1 summarizes ``_FAN`` entries of
    level k and exists only once all of them do. So an append costs O(1) on average, a query for
    the extremes of any range O(log n), and dropping the newest points is a truncation.

    A y that is NaN or infinite is a gap: it is not part of any minimum or maximum, and breaks the
    line. ``version`` counts changes, for caches of values computed from the series.
    """

    __slots__ = ("_gap_xs", "_levels", "_xs", "version")

    def __init__(self) -> None:
        self._xs = array("d")
        self._gap_xs = array("d")
        self._levels = [(array("d"), array("d"))]
        """Minimum and maximum of each block of points, by level; (inf, -inf) for one without values."""
        self.version = 0

    def append(self, x: float, y: float) -> None:
        """Add a point; one at the newest x replaces that point.

        Raises ValueError if x is not finite or lies before the newest x.
        """
        if not isfinite(x):
            raise ValueError(f"x must be finite, not {x}")
        if self._xs and x <= self._xs[-1]:
            if x < self._xs[-1]:
                raise ValueError(f"x must not fall: {x} after {self._xs[-1]}")
            self._truncate(len(self._xs) - 1)
        self._xs.append(x)
        lows, highs = self._levels[0]
        if isfinite(y):
            lows.append(y)
            highs.append(y)
        else:
            lows.append(inf)
            highs.append(-inf)
            self._gap_xs.append(x)
        self._summarize()
        self.version += 1

    def cut_after(self, x: float) -> None:
        """Drop all points beyond ``x``: a resumed run replays its steps from a checkpoint."""
        length = bisect_right(self._xs, x)
        if length < len(self._xs):
            self._truncate(length)
            self.version += 1

    def replace(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        """Replace all points; ``xs`` must rise."""
        self._xs = array("d", xs)
        self._gap_xs = array("d", [x for x, y in zip(xs, ys, strict=True) if not isfinite(y)])
        lows, highs = array("d", ys), array("d", ys)
        for index in range(len(ys)) if self._gap_xs else ():
            if not isfinite(ys[index]):
                lows[index], highs[index] = inf, -inf
        self._levels = [(lows, highs)]
        while len(lows) >= _FAN:
            blocks = range(0, len(lows) - _FAN + 1, _FAN)
            lows = array("d", [min(lows[block : block + _FAN]) for block in blocks])
            highs = array("d", [max(highs[block : block + _FAN]) for block in blocks])
            self._levels.append((lows, highs))
        self.version += 1

    @property
    def xs(self) -> array[float]:
        return self._xs

    @property
    def ys(self) -> array[float]:
        """All values; NaN at a gap."""
        lows, highs = self._levels[0]
        if not self._gap_xs:
            return lows
        return array("d", [nan if a > b else a for a, b in zip(lows, highs, strict=True)])

    def __len__(self) -> int:
        return len(self._xs)

    def __getitem__(self, index: int) -> tuple[float, float]:
        """Return one point; y is NaN at a gap."""
        lows, highs = self._levels[0]
        low = lows[index]
        return self._xs[index], nan if low > highs[index] else low

    @property
    def first_x(self) -> float | None:
        return self._xs[0] if self._xs else None

    @property
    def last_x(self) -> float | None:
        return self._xs[-1] if self._xs else None

    @property
    def last(self) -> float | None:
        """The newest y; None without points or if it is a gap."""
        if not self._xs:
            return None
        y = self[-1][1]
        return y if isfinite(y) else None

    def window(self, x0: float, x1: float) -> tuple[int, int]:
        """Return (i, j) such that points i to j - 1 have x0 <= x <= x1."""
        return bisect_left(self._xs, x0), bisect_right(self._xs, x1)

    def bounds(self, x0: float, x1: float) -> Interval | None:
        """Return the minimum and maximum y with x0 <= x <= x1; None without any."""
        return self._extremes(*self.window(x0, x1))

    def points(self, x0: float, x1: float) -> Iterator[tuple[float, float]]:
        """Yield the points with x0 <= x <= x1; y is NaN at a gap."""
        i, j = self.window(x0, x1)
        return (self[index] for index in range(i, j))

    def nearest(self, x: float) -> tuple[float, float] | None:
        """Return the point nearest to ``x``, the older of two at equal distance; None without any."""
        if not self._xs:
            return None
        right = bisect_left(self._xs, x)
        near = range(max(right - 1, 0), min(right + 1, len(self._xs)))
        return self[min(near, key=lambda index: abs(self._xs[index] - x))]

    def columns(self, x0: float, x1: float, n: int) -> list[Interval | None]:
        """Return the minimum and maximum y in each of ``n`` equal slices of [x0, x1].

        A slice includes its left end but not its right one; the last includes both. None means no
        value: no point, or only gaps, which ``gaps`` distinguishes.
        """
        return [self._extremes(i, j) for i, j in pairwise(_edges(self._xs, x0, x1, n))]

    def gaps(self, x0: float, x1: float, n: int) -> list[bool]:
        """Return for each slice of ``columns(x0, x1, n)`` whether it contains a gap."""
        if not self._gap_xs:
            return [False] * n
        return [j > i for i, j in pairwise(_edges(self._gap_xs, x0, x1, n))]

    def _summarize(self) -> None:
        """Add the summaries of the blocks that the newest point completed."""
        length = len(self._xs)
        depth = 0
        while length % _FAN == 0:
            if depth + 1 == len(self._levels):
                self._levels.append((array("d"), array("d")))
            (lows, highs), above = self._levels[depth], self._levels[depth + 1]
            above[0].append(min(lows[-_FAN:]))
            above[1].append(max(highs[-_FAN:]))
            length //= _FAN
            depth += 1

    def _truncate(self, length: int) -> None:
        """Keep the oldest ``length`` points."""
        del self._xs[length:]
        for lows, highs in self._levels:
            del lows[length:], highs[length:]
            length //= _FAN
        newest = self._xs[-1] if self._xs else -inf
        del self._gap_xs[bisect_right(self._gap_xs, newest) :]

    def _extremes(self, i: int, j: int) -> Interval | None:
        """Return the minimum and maximum y of the points i to j - 1.

        At each level, read the entries before the first and after the last whole block; the blocks
        between them are read one level up.
        """
        low, high = inf, -inf
        for lows, highs in self._levels:
            start, stop = -(-i // _FAN) * _FAN, j // _FAN * _FAN
            parts = ((i, start), (stop, j)) if start < stop else ((i, j),)
            for a, b in parts:
                if a < b:
                    low = min(low, *lows[a:b])
                    high = max(high, *highs[a:b])
            if start >= stop:
                break
            i, j = start // _FAN, stop // _FAN
        return (low, high) if low <= high else None


DEFAULT_WEIGHT = 0.6
"""Weight of a smoothed series; the first one of the monitor."""


class Smoothed(Series):
    """Exponential moving average of the appended values, at the same x.

    Append to it and cut it together with the raw series. Each value keeps ``weight`` of the average
    before it, corrected for the bias of the initial zero; a gap changes nothing. This is
    TensorBoard's formula (``resmoothDataset`` in vz_line_chart2/line-chart.ts), with its default 0.6.

    That covers two or three values, too few to smooth thousands. So from 1 / (1 - weight) /
    ``share`` values on, the average covers ``share`` of all values so far, which is a constant
    width on a chart of all of them. W&B scales its smoothing for the same reason (docs, "Smooth
    line plots"). With ``share`` 0 the weight is constant.
    """

    __slots__ = ("_masses", "_share", "_sums", "_weight")

    def __init__(self, weight: float = DEFAULT_WEIGHT, share: float = 0.02) -> None:
        """Raise ValueError unless 0 <= weight < 1 and 0 <= share <= 1."""
        if not (0 <= weight < 1 and 0 <= share <= 1):
            raise ValueError(f"invalid smoothing weight and share: {weight}, {share}")
        super().__init__()
        self._weight = weight
        self._share = share
        # After each point: the decayed sum of the values, and of their weights.
        self._sums = array("d")
        self._masses = array("d")

    def append(self, x: float, y: float) -> None:
        """Add the average including the raw value ``y``; errors and equal x as in ``Series``."""
        if x == self.last_x:
            self._truncate(len(self) - 1)
        total, mass = (self._sums[-1], self._masses[-1]) if len(self) else (0.0, 0.0)
        if isfinite(y):
            count = len(self) - len(self._gap_xs) + 1
            weight = max(self._weight, 1 - 1 / max(self._share * count, 1.0))
            total = weight * total + (1 - weight) * y
            mass = weight * mass + (1 - weight)
            y = total / mass
        super().append(x, y)
        self._sums.append(total)
        self._masses.append(mass)

    def _truncate(self, length: int) -> None:
        super()._truncate(length)
        del self._sums[length:]
        del self._masses[length:]


class ThinSeries(Series):
    """Series of at most ``max_points`` points, for an unlimited number of appended values.

    The first ``head`` points are kept, so that what is known of the interval between values stays
    true. Of the others, each ``stride``-th is kept, and the newest; the stride doubles whenever the
    series is full. A gap is kept in place of its neighbor, so NaN is never lost.
    """

    __slots__ = ("count", "head", "max_points", "stride")

    def __init__(self, max_points: int, head: int) -> None:
        """Raise ValueError unless ``max_points`` leaves two after the head."""
        if max_points < head + 2:
            raise ValueError(f"too few points: {max_points} with a head of {head}")
        super().__init__()
        self.head = head
        self.max_points = head + (max_points - head) // 2 * 2
        self.stride = 1
        self.count = 0
        """Values for which the newest point stands."""

    def append(self, x: float, y: float) -> None:
        """Add a value; errors and equal x as in ``Series``."""
        last_x = self.last_x
        if last_x is not None and x < last_x:
            raise ValueError(f"x must not fall: {x} after {last_x}")
        if x != last_x:
            is_open = len(self) > self.head and self.count < self.stride
            if is_open and self.last is not None:
                self._truncate(len(self) - 1)
                self.count += 1
            else:
                if len(self) >= self.max_points:
                    self._halve()
                self.count = 1
        super().append(x, y)

    def cut_after(self, x: float) -> None:
        """Drop all points beyond ``x``."""
        length = len(self)
        super().cut_after(x)
        if len(self) < length:
            self.count = self.stride

    def _halve(self) -> None:
        points = list(zip(self.xs, self.ys, strict=True))
        pairs = zip(points[self.head :: 2], points[self.head + 1 :: 2], strict=True)
        kept = points[: self.head] + [b if isfinite(a[1]) else a for a, b in pairs]
        self.replace(*zip(*kept, strict=True))
        self.stride *= 2


def _edges(xs: array[float], x0: float, x1: float, n: int) -> list[int]:
    """Return the n + 1 indices into ``xs`` that bound n equal slices of [x0, x1]."""
    width = (x1 - x0) / n
    edges = [bisect_left(xs, x0)]
    for k in range(1, n):
        edges.append(bisect_left(xs, x0 + k * width, edges[-1]))
    edges.append(bisect_right(xs, x1, edges[-1]))
    return edges
