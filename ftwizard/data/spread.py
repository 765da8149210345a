"""How lengths spread: percentiles, and a histogram to draw."""

from __future__ import annotations

import math
from array import array
from typing import Any

BUCKETS = 20
"""Of the histogram, at most."""


def of(lengths: array[int]) -> dict[str, Any]:
    """Return ``mean``, ``p50``, ``p95``, ``p99`` (nearest rank), ``max`` and ``histogram``."""
    if not lengths:
        return {"mean": 0.0, "p50": 0, "p95": 0, "p99": 0, "max": 0, "histogram": []}
    import numpy as np

    ordered = np.sort(np.frombuffer(lengths, dtype=np.uint32))
    edges = _edges(int(ordered[0]), int(ordered[-1]))
    below = np.searchsorted(ordered, edges, side="right")
    ranks = {f"p{p}": int(ordered[math.ceil(p / 100 * len(ordered)) - 1]) for p in (50, 95, 99)}
    return {
        "mean": round(float(ordered.mean()), 1),
        **ranks,
        "max": int(ordered[-1]),
        "histogram": list(zip(edges, np.diff(below, prepend=0).tolist(), strict=True)),
    }


def _edges(least: int, most: int) -> list[int]:
    """Return upper edges of at most ``BUCKETS`` buckets, each wider by the same factor.

    Lengths of rows spread over magnitudes: even widths would put most into the first.
    """
    factor = max((most / max(least, 1)) ** (1 / BUCKETS), 1.0)
    found: list[int] = []
    for number in range(1, BUCKETS):
        edge = _rounded(max(least, 1) * factor**number)
        if edge < most and edge >= least and edge not in found:
            found.append(edge)
    return [*found, most]


def _rounded(edge: float) -> int:
    """Return an edge with two digits that count."""
    step = 10 ** max(math.floor(math.log10(edge)) - 1, 0)
    return int(round(edge / step) * step)
