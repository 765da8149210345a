"""Statistics of row lengths: percentiles and a histogram."""

from __future__ import annotations

import math
from array import array
from typing import Any

BUCKETS = 20
"""Maximum number of histogram buckets."""


def summarize_lengths(lengths: array[int]) -> dict[str, Any]:
    """Return ``mean``, ``p50``, ``p95``, ``p99`` (nearest rank), ``max`` and ``histogram``."""
    if not lengths:
        return {"mean": 0.0, "p50": 0, "p95": 0, "p99": 0, "max": 0, "histogram": []}
    import numpy as np

    ordered = np.sort(np.frombuffer(lengths, dtype=np.uint32))
    edges = _choose_edges(int(ordered[0]), int(ordered[-1]))
    below = np.searchsorted(ordered, edges, side="right")
    ranks = {f"p{p}": int(ordered[math.ceil(p / 100 * len(ordered)) - 1]) for p in (50, 95, 99)}
    return {
        "mean": round(float(ordered.mean()), 1),
        **ranks,
        "max": int(ordered[-1]),
        "histogram": list(zip(edges, np.diff(below, prepend=0).tolist(), strict=True)),
    }


def _choose_edges(low: int, high: int) -> list[int]:
    """Return the upper edges of at most ``BUCKETS`` logarithmic buckets.

    Row lengths span orders of magnitude; with equal widths, most would fall into the first bucket.
    """
    import numpy as np

    exact = np.geomspace(max(low, 1), max(high, 1), BUCKETS + 1)[1:-1]
    rounded = {_round_edge(float(edge)) for edge in exact}
    return [*sorted(edge for edge in rounded if low <= edge < high), high]


def _round_edge(edge: float) -> int:
    """Round an edge to two significant digits."""
    step = 10 ** max(math.floor(math.log10(edge)) - 1, 0)
    return int(round(edge / step) * step)
