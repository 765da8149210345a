"""Paired tests of two models on the same rows: exact McNemar, sign flips, and intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy.random import Generator

ALPHA = 0.05
_Z = 1.959964
"""Quantile of the normal distribution for a 95% interval."""
RESAMPLES = 4000
MAX_CELLS = 500_000
"""Rows that are resampled at once, to bound the memory."""
MAX_EXACT_ROWS = 12
"""Rows up to which all sign flips are computed."""
_SEED = 42


class PairedTest(NamedTuple):
    """The change from the first to the second model."""

    change: float
    low: float
    high: float
    """The ends of its 95% interval."""
    p: float
    """Two-sided p-value of no change."""


def compare_outcomes(fixed: int, broken: int, rows: int) -> PairedTest:
    """Compare two shares of right answers by the rows that only one model has right.

    ``fixed`` rows are right only for the second model, ``broken`` rows only for the first. The
    p-value is the exact McNemar test; the interval is the adjusted Wald one of Agresti and Min
    (Statistics in Medicine 24, 2005), which also holds without any differing row.
    """
    differing = fixed + broken
    tail = sum(math.comb(differing, k) for k in range(min(fixed, broken) + 1))
    p = min(1.0, tail / 2 ** (differing - 1)) if differing else 1.0
    total, gain = rows + 2, fixed - broken
    spread = _Z * math.sqrt(max(0.0, differing + 1 - gain**2 / total)) / total
    center = gain / total
    return PairedTest(gain / rows, max(-1.0, center - spread), min(1.0, center + spread), p)


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
    return PairedTest(mean, float(low), float(high), _flip_signs(changes, random))


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
