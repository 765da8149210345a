"""Robust statistics for few noisy points, with their sources."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import mul
from statistics import NormalDist, fmean, median

from ftwizard.diagnosis.curve import Point

SIGMA_OF_MAD = 1.4826
"""Ratio of standard deviation to median absolute deviation for normal noise."""
REACH = 3
"""Points on each side of the running median around which noise is measured."""
MAX_POINTS = 64
"""Points that tests over all pairs use."""
MAX_TRIPLES = 8192
"""Positions in a long series at which noise is measured."""
BATCHES = 12
"""Parts of a series whose means are compared: 10 to 30 suffice (Schmeiser 1982), the fewer, the longer
each is compared with the time over which steps resemble each other."""


def spread(values: Sequence[float]) -> float:
    """Estimate the standard deviation from the median absolute deviation; 0 without values."""
    if not values:
        return 0.0
    middle = median(values)
    return SIGMA_OF_MAD * median(abs(value - middle) for value in values)


def noise(values: Sequence[float]) -> float:
    """Estimate the standard deviation of noise around a smooth curve from second differences.

    A smooth curve has small second differences; those of white noise have six times its variance
    (after von Neumann 1941, who used first differences). 0 with fewer than three values.
    """
    indices = range(1, len(values) - 1, 1 + len(values) // MAX_TRIPLES)
    seconds = [abs(values[i - 1] - 2 * values[i] + values[i + 1]) for i in indices]
    return SIGMA_OF_MAD * median(seconds) / math.sqrt(6) if seconds else 0.0


def noise_about_convex(values: Sequence[float]) -> float:
    """Estimate the standard deviation of noise around a convex curve.

    Validation loss is convex: it falls ever more slowly, then perhaps rises. Negative second
    differences are therefore noise, and the largest of them caps the positive ones, so that a
    steep fall over a few points does not count as noise.
    """
    seconds = [a - 2 * b + c for a, b, c in zip(values, values[1:], values[2:], strict=False)]
    cap = -min(seconds, default=0.0)
    if cap <= 0:
        return noise(values)
    return math.hypot(*(min(abs(second), cap) for second in seconds)) / math.sqrt(6 * len(seconds))


def slope(points: Sequence[Point]) -> float:
    """Compute the Theil-Sen slope (Sen 1968): the median slope of all pairs; 0 below two points."""
    slopes = [
        (b[1] - a[1]) / (b[0] - a[0])
        for i, a in enumerate(points)
        for b in points[i + 1 :]
        if b[0] > a[0]
    ]
    return median(slopes) if slopes else 0.0


def trend(values: Sequence[float]) -> float:
    """Compute Mann-Kendall's z (Mann 1945, Kendall 1975), with continuity correction.

    Positive if values rise; above 1.645 is significant at 5%, one-sided. 0 below three values.
    """
    n = len(values)
    if n < 3:
        return 0.0
    s = sum((b > a) - (b < a) for i, a in enumerate(values) for b in values[i + 1 :])
    ties = {value: values.count(value) for value in set(values)}
    variance = n * (n - 1) * (2 * n + 5) - sum(
        t * (t - 1) * (2 * t + 5) for t in ties.values() if t > 1
    )
    if s == 0 or variance <= 0:
        return 0.0
    return (s - math.copysign(1, s)) / math.sqrt(variance / 18)


def error_of_rise(n: int) -> float:
    """Return the standard error of a line's rise over ``n`` evenly spaced points, in sigmas."""
    return math.sqrt(12 * (n - 1) / (n * (n + 1)))


def cusum(values: Sequence[float], level: float, sigma: float, slack: float = 0.5) -> float:
    """Compute the upper CUSUM in standard deviations from ``level`` (Page 1954).

    With the usual slack of half a deviation, a sum above 5 means that values left the level.
    """
    total = 0.0
    for value in values:
        total = max(0.0, total + (value - level) / sigma - slack) if sigma > 0 else total
    return total


def certainty(z: float) -> float:
    """Return the one-sided probability of the normal distribution below ``z``."""
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


def thin(points: Sequence[Point], max_points: int = MAX_POINTS) -> list[Point]:
    """Reduce to at most ``max_points`` points, each the median of its neighbors."""
    if len(points) <= max_points:
        return list(points)
    edges = [len(points) * k // max_points for k in range(max_points + 1)]
    return [
        (points[(i + j) // 2][0], median(value for _, value in points[i:j]))
        for i, j in pairwise(edges)
    ]


def running_median(values: Sequence[float], reach: int) -> list[float]:
    """Return the median of the values within ``reach`` of each index."""
    n = len(values)
    inner = [
        sorted(values[i - reach : i + reach + 1])[reach]
        for i in range(reach, max(reach, n - reach))
    ]
    head = [median(values[: i + reach + 1]) for i in range(min(reach, n))]
    tail = [median(values[i - reach :]) for i in range(max(reach, n - reach), n)]
    return head + inner + tail


def measure_noise(values: Sequence[float]) -> float:
    """Return a standard deviation of the noise that counts its long tail, but not single spikes."""
    if len(values) < 3:
        return 0.0
    residuals = sorted(
        value - middle for value, middle in zip(values, running_median(values, REACH), strict=True)
    )
    tail = residuals[int(0.9 * (len(residuals) - 1))]
    return max(noise(values), tail / NormalDist().inv_cdf(0.9))


@dataclass(frozen=True)
class Shift:
    """How far the level of a series moved from its first points to its newest."""

    start: float
    now: float
    error: float
    """Standard error of the difference of the two levels."""
    since: float
    """Step of the first of the newest points."""

    @property
    def rise(self) -> float:
        """Return the difference: positive if the level rose."""
        return self.now - self.start

    @property
    def z(self) -> float:
        """Return the rise in standard errors; infinite for a noiseless one, 0 for none."""
        if self.error > 0:
            return self.rise / self.error
        return math.copysign(math.inf, self.rise) if self.rise else 0.0


HEAD_SHARE, NOW_SHARE = 0.1, 0.25
"""Shares of the points that make up the level at the start, and the newest one."""
MIN_HEAD, MIN_NOW = 3, 6
"""Points of each at least."""


def measure_shift(points: Sequence[Point]) -> Shift | None:
    """Measure how far the newest level is from the first one; None with too few points.

    The noise is the larger of that of all points and of the newest ones: rewards and margins vary
    more among rows as they grow.
    """
    n = len(points)
    if n < MIN_HEAD + MIN_NOW:
        return None
    values = [value for _, value in points]
    head = values[: max(MIN_HEAD, int(HEAD_SHARE * n))]
    tail = values[-max(MIN_NOW, int(NOW_SHARE * n)) :]
    sigma = max(measure_noise(values), measure_noise(tail), measure_spread_of_steps(tail))
    error = sigma * math.sqrt(1 / len(head) + 1 / len(tail))
    return Shift(fmean(head), fmean(tail), error, points[n - len(tail)][0])


def measure_spread_of_steps(values: Sequence[float]) -> float:
    """Return the standard deviation of noise by the mean square of successive differences.

    Unlike the median of them, it counts a series that is mostly constant but jumps sometimes
    (von Neumann 1941).
    """
    if len(values) < 2:
        return 0.0
    return math.sqrt(fmean([(b - a) ** 2 for a, b in pairwise(values)]) / 2)


def average_batches(points: Sequence[Point]) -> list[Point]:
    """Reduce to at most ``BATCHES`` points: the first step and the mean of equally long batches.

    Neighboring steps may resemble each other, which makes a mean far less sure than their
    differences suggest. Means of batches longer than that are nearly independent.
    """
    count = min(BATCHES, len(points))
    edges = [len(points) * k // count for k in range(count + 1)] if count else []
    return [(points[i][0], fmean(value for _, value in points[i:j])) for i, j in pairwise(edges)]


def remove_polynomial(values: Sequence[float], degree: int) -> list[float]:
    """Return the residuals about the line (degree 1) or parabola (2) of least squares."""
    n = len(values)
    steps = [k - (n - 1) / 2 for k in range(n)]
    # On evenly spaced, centered steps, these are orthogonal.
    columns = [[1.0] * n, steps, [step**2 - (n**2 - 1) / 12 for step in steps]]
    residuals = list(values)
    for column in columns[: degree + 1]:
        share = sum(map(mul, residuals, column)) / sum(map(mul, column, column))
        residuals = [value - share * x for value, x in zip(residuals, column, strict=True)]
    return residuals


def measure_residuals(values: Sequence[float], degree: int) -> float:
    """Return the standard deviation about such a line or parabola, of more than ``degree + 1`` values.

    Unlike successive differences, it counts noise that lasts over several values.
    """
    squares = sum(value**2 for value in remove_polynomial(values, degree))
    return math.sqrt(squares / (len(values) - degree - 1))


def find_onset(points: Sequence[Point], level: float, *, is_above: bool = True) -> float:
    """Return the step since which a running median has stayed beyond ``level``."""
    values = running_median([value for _, value in points], REACH)
    onset = points[-1][0]
    for (step, _), value in zip(reversed(points), reversed(values), strict=True):
        if (value < level) if is_above else (value > level):
            break
        onset = step
    return onset


@dataclass(frozen=True)
class Fall:
    """A fall of a series from its highest level."""

    since: float
    """Step of the highest level."""
    best: float
    now: float
    noise: float


def find_fall(points: Sequence[Point], least: float, min_z: float = 3.5) -> Fall | None:
    """Find a fall by at least ``least`` and ``min_z`` standard deviations; None without one.

    Levels are medians of three points: the highest of many noisy ones is partly luck. The newest
    two are averaged. The noise is the larger of that of neighbors and that about a parabola, which
    a series that rises and then falls resembles.
    """
    if len(points) < 5:
        return None
    values = [value for _, value in points]
    levels = [median(values[max(0, i - 1) : i + 2]) for i in range(len(values) - 2)]
    best = max(range(len(levels)), key=levels.__getitem__)
    # The median of few second differences would be too unsure, and too low for lasting noise.
    jumps = measure_spread_of_steps(remove_polynomial(values, 2))
    now, sigma = fmean(values[-2:]), max(jumps, measure_residuals(values, 2))
    fall = levels[best] - now
    if fall < max(least, min_z * sigma) or max(values[-2:]) >= levels[best]:
        return None
    return Fall(points[best][0], levels[best], now, sigma)
