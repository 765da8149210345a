"""Statistics that a few noisy points allow: robust ones, with their sources."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from ftwizard.diagnosis.curve import Point

SIGMA_OF_MAD = 1.4826
"""Standard deviations in a median absolute deviation of normal noise."""
MOST_POINTS = 64
"""Points that a test over all pairs looks at."""
MOST_TRIPLES = 8192
"""Places of a long series at which its noise is looked at."""


def spread(values: Sequence[float]) -> float:
    """Return the standard deviation by the median absolute deviation; 0 without values."""
    if not values:
        return 0.0
    middle = median(values)
    return SIGMA_OF_MAD * median(abs(value - middle) for value in values)


def noise(values: Sequence[float]) -> float:
    """Return the standard deviation of the noise about a smooth curve, by second differences.

    A smooth curve's second difference is small, that of white noise has six times its variance
    (von Neumann 1941, and its successors, for the first difference). 0 with fewer than three.
    """
    places = range(1, len(values) - 1, 1 + len(values) // MOST_TRIPLES)
    seconds = [abs(values[i - 1] - 2 * values[i] + values[i + 1]) for i in places]
    return SIGMA_OF_MAD * median(seconds) / math.sqrt(6) if seconds else 0.0


def noise_about_convex(values: Sequence[float]) -> float:
    """Return the standard deviation of the noise about a curve that bends upwards, if at all.

    So does a validation loss, which falls ever more slowly and then perhaps rises: what bends
    downwards is noise. No second difference counts for more than the largest of those, so that a
    steep fall in a few points is not taken for noise.
    """
    seconds = [a - 2 * b + c for a, b, c in zip(values, values[1:], values[2:], strict=False)]
    most = -min(seconds, default=0.0)
    if most <= 0:
        return noise(values)
    return math.hypot(*(min(abs(one), most) for one in seconds)) / math.sqrt(6 * len(seconds))


def slope(points: Sequence[Point]) -> float:
    """Return the Theil-Sen slope (Sen 1968): the median of the slopes of all pairs; 0 below two."""
    slopes = [
        (b[1] - a[1]) / (b[0] - a[0])
        for i, a in enumerate(points)
        for b in points[i + 1 :]
        if b[0] > a[0]
    ]
    return median(slopes) if slopes else 0.0


def trend(values: Sequence[float]) -> float:
    """Return the Mann-Kendall statistic z (Mann 1945, Kendall 1975), with its continuity correction.

    Positive where values rise; beyond 1.645 one-sided at 5 %. 0 below three values.
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
    """Return the standard error of a straight line's rise over ``n`` even points, in sigmas."""
    return math.sqrt(12 * (n - 1) / (n * (n + 1)))


def cusum(values: Sequence[float], level: float, sigma: float, slack: float = 0.5) -> float:
    """Return the upper cumulative sum in standard deviations (Page 1954), from ``level``.

    With the customary slack of half a deviation, beyond 5 it has left the level.
    """
    total = 0.0
    for value in values:
        total = max(0.0, total + (value - level) / sigma - slack) if sigma > 0 else total
    return total


def certainty(z: float) -> float:
    """Return the one-sided probability of the normal distribution below ``z``."""
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """Return at most ``most`` points, each the median of a stretch of neighbours."""
    if len(points) <= most:
        return list(points)
    edges = [len(points) * k // most for k in range(most + 1)]
    return [
        (points[(i + j) // 2][0], median(value for _, value in points[i:j]))
        for i, j in pairwise(edges)
    ]


def running_median(values: Sequence[float], reach: int) -> list[float]:
    """Return at each place the median of the values up to ``reach`` places away."""
    n = len(values)
    inner = [
        sorted(values[i - reach : i + reach + 1])[reach]
        for i in range(reach, max(reach, n - reach))
    ]
    head = [median(values[: i + reach + 1]) for i in range(min(reach, n))]
    tail = [median(values[i - reach :]) for i in range(max(reach, n - reach), n)]
    return head + inner + tail
