"""Statistics of scores: intervals, paired tests of two models, and what n rows can show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy.random import Generator

ALPHA = 0.05
Z = 1.959964
"""Quantile of the normal distribution for a 95% interval."""
RESAMPLES = 4000
MAX_CELLS = 500_000
"""Rows that are resampled at once, to bound the memory."""
MAX_EXACT_ROWS = 12
"""Rows up to which all sign flips are computed."""
_SEED = 42
DISCORDANT_SHARE = 0.2
"""Assumed share of rows that only one of two models has right, where nothing is measured yet: about
what a fine-tune changes on rows that it was not trained for."""
MAX_NEEDED_ROWS = 10_000
MIN_DIFFERING = 6
"""Fewest rows with which an exact two-sided McNemar test can show a change: 2 / 2**6 < 0.05."""


class Interval(NamedTuple):
    """A 95% interval."""

    low: float
    high: float


class PairedTest(NamedTuple):
    """The change from the first to the second model."""

    change: float
    low: float
    high: float
    """The ends of its 95% interval."""
    p: float
    """Two-sided p-value of no change."""


def bound_share(right: int, rows: int) -> Interval:
    """Return the Wilson interval of a share (Wilson, JASA 22, 1927); 0–1 without rows.

    From 20 rows, it covers shares of 0.05 to 0.95 at least 92% of the time, 95% on average.
    """
    if not rows:
        return Interval(0.0, 1.0)
    share, square = right / rows, Z**2
    center = (share + square / (2 * rows)) / (1 + square / rows)
    spread = math.sqrt(share * (1 - share) / rows + square / (4 * rows**2))
    spread *= Z / (1 + square / rows)
    return Interval(max(0.0, center - spread), min(1.0, center + spread))


def bound_mean(values: Sequence[float]) -> Interval:
    """Return the interval of the mean of scores of 0–1; 0–1 without scores.

    One score of 0 and one of 1 are added before the normal interval, as Agresti and Coull do with
    shares (The American Statistician 52, 1998), so that equal scores do not look certain.
    """
    if not values:
        return Interval(0.0, 1.0)
    rows = len(values) + 2
    mean = (math.fsum(values) + 1) / rows
    variance = (math.fsum(value**2 for value in values) + 1) / rows - mean**2
    spread = Z * math.sqrt(max(0.0, variance) / (rows - 1))
    return Interval(max(0.0, mean - spread), min(1.0, mean + spread))


def bound_scores(scores: Sequence[float]) -> Interval:
    """Return the interval of the mean of scores: that of a share if all are 0 or 1."""
    if set(scores) <= {0.0, 1.0}:
        return bound_share(int(sum(scores)), len(scores))
    return bound_mean(scores)


def find_provable_change(rows: int, discordant_share: float = DISCORDANT_SHARE) -> float | None:
    """Return the smallest net change, 0–1, that is significant on ``rows`` paired rows.

    It is the change of an exact two-sided McNemar test at 5%, if ``discordant_share`` of the rows
    are right for one model only: 16 points with 50 rows and a share of 0.2, 10 with 100, 7 with
    200, 5 with 400. None if no outcome would be significant, as with fewer than 6 rows.
    """
    differing = max(MIN_DIFFERING, round(discordant_share * rows))
    if differing > rows:
        return None
    broken, outcomes, tail = 0, 1, 1
    while tail / 2 ** (differing - 1) < ALPHA:
        outcomes = outcomes * (differing - broken) // (broken + 1)
        broken, tail = broken + 1, tail + outcomes
    return (differing - 2 * (broken - 1)) / rows


def count_needed_rows(change: float, discordant_share: float = DISCORDANT_SHARE) -> int:
    """Return how many rows can show a net change, as ``find_provable_change`` has it.

    It is rounded up to two digits, and ``MAX_NEEDED_ROWS`` at most.
    """
    change = max(change, 1e-4)
    share = max(discordant_share, change)
    low, high = MIN_DIFFERING, MAX_NEEDED_ROWS
    while low < high:
        middle = (low + high) // 2
        provable = find_provable_change(middle, share)
        low, high = (low, middle) if provable and provable <= change else (middle + 1, high)
    unit: int = 10 ** max(0, len(str(low)) - 2)
    return min(MAX_NEEDED_ROWS, -(-low // unit) * unit)


def compare_outcomes(fixed: int, broken: int, rows: int) -> PairedTest:
    """Compare two shares of right answers by the rows that only one model has right.

    ``fixed`` rows are right only for the second model, ``broken`` rows only for the first. The
    p-value is the exact McNemar test. The interval is the adjusted Wald one of Agresti and Min
    (Statistics in Medicine 24, 2005) or, where wider, the one from the Wilson intervals of both
    shares (square-and-add; Newcombe, Statistics in Medicine 17, 1998): with few differing rows the
    former is too narrow, and rows without a difference still allow one in as many as ``bound_share``.
    It includes 0 unless the p-value is below ``ALPHA``.
    """
    differing = fixed + broken
    tail = sum(math.comb(differing, k) for k in range(min(fixed, broken) + 1))
    p = min(1.0, tail / 2 ** (differing - 1)) if differing else 1.0
    total, gain = rows + 2, fixed - broken
    spread = Z * math.sqrt(max(0.0, differing + 1 - gain**2 / total)) / total
    center, change = gain / total, gain / rows
    gains, losses = bound_share(fixed, rows), bound_share(broken, rows)
    down = math.hypot(fixed / rows - gains.low, losses.high - broken / rows)
    up = math.hypot(gains.high - fixed / rows, broken / rows - losses.low)
    low, high = min(center - spread, change - down), max(center + spread, change + up)
    return allow_chance(PairedTest(change, max(-1.0, low), min(1.0, high), p))


def compare_scores(base: Sequence[float], tuned: Sequence[float]) -> PairedTest:
    """Compare the means of scores of 0–1 over the same rows, of which there is at least one.

    It is ``compare_outcomes`` if all are 0 or 1. Else it is ``compare_means``, with an interval that is
    at least as wide as that of Agresti and Min would be for these changes: a bootstrap of few differing
    rows is too narrow, and of none has no width at all.
    """
    changes = [after - before for before, after in zip(base, tuned, strict=True)]
    if {*base, *tuned} <= {0.0, 1.0}:
        return compare_outcomes(changes.count(1.0), changes.count(-1.0), len(changes))
    test = compare_means(base, tuned)
    rows = len(changes) + 2
    total, squares = math.fsum(changes), math.fsum(change**2 for change in changes)
    spread = Z * math.sqrt(max(0.0, squares + 1 - total**2 / rows)) / rows
    low, high = min(test.low, total / rows - spread), max(test.high, total / rows + spread)
    return allow_chance(test._replace(low=max(-1.0, low), high=min(1.0, high)))


def compare_means(
    base: Sequence[float], tuned: Sequence[float], weights: Sequence[float] | None = None
) -> PairedTest:
    """Compare two weighted means over the same rows, with a paired bootstrap over rows.

    The p-value is a randomization test that flips the sign of each row's change, exact for up to
    ``MAX_EXACT_ROWS`` rows. Results are the same for the same rows: the seed is fixed.
    """
    import numpy as np

    weight = np.ones(len(base)) if weights is None else np.asarray(weights, dtype=float)
    changes = (np.asarray(tuned, dtype=float) - np.asarray(base, dtype=float)) * weight
    random = np.random.default_rng(_SEED)
    rows = len(changes)
    means = [
        changes[drawn].sum(axis=1) / weight[drawn].sum(axis=1)
        for drawn in (random.integers(rows, size=(n, rows)) for n in _list_blocks(rows))
    ]
    low, high = np.quantile(np.concatenate(means), [ALPHA / 2, 1 - ALPHA / 2])
    mean = float(changes.sum() / weight.sum())
    p = _flip_signs(changes, random)
    return allow_chance(PairedTest(mean, float(low), float(high), p))


def allow_chance(test: PairedTest) -> PairedTest:
    """Widen the interval to 0 where the p-value does not exclude chance, so that both agree."""
    if test.p < ALPHA:
        return test
    return test._replace(low=min(0.0, test.low), high=max(0.0, test.high))


def _flip_signs(changes: Any, random: Generator) -> float:
    """Return the share of sign flips whose sum is at least as far from zero."""
    import numpy as np

    count = len(changes)
    observed = abs(float(changes.sum())) * (1 - 1e-9)  # equal sums differ by rounding
    if count <= MAX_EXACT_ROWS:
        flips = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return float(np.mean(np.abs((1 - 2 * flips) @ changes) >= observed))
    further = sum(
        int(np.sum(np.abs((1 - 2 * random.integers(2, size=(n, count))) @ changes) >= observed))
        for n in _list_blocks(count)
    )
    return (1 + further) / (1 + RESAMPLES)


def _list_blocks(rows: int) -> Iterator[int]:
    """Yield numbers of resamples that sum up to ``RESAMPLES``, of bounded memory each."""
    done, size = 0, max(1, MAX_CELLS // rows)
    while done < RESAMPLES:
        yield min(size, RESAMPLES - done)
        done += size
