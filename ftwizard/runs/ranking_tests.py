"""Statistics of a ranking: how often wanted answers score above unwanted ones, and what chance can explain.

The share of wanted–unwanted combinations in the right order, with ties as half, is the area under the
ROC curve (Hanley and McNeil, Radiology 143, 1982). Unlike the share of answers on the right side of a
line, it does not depend on how many answers of each kind there are, nor on a shift of all scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ftwizard.runs.paired_tests import ALPHA, Interval, PairedTest, Z, allow_chance

CHANCE = 0.5
_SEED = 42
_BISECTIONS = 60
_RESAMPLES = 2000
"""Each is a loop over the answers, unlike those of ``paired_tests``."""


def compute_share(wanted: Sequence[float], unwanted: Sequence[float]) -> float:
    """Return the share of combinations, 0–1, in which the wanted answer scores above the unwanted one."""
    import numpy as np

    return float(_share(np.asarray(wanted, dtype=float), np.asarray(unwanted, dtype=float)))


def bound_share(share: float, wanted: int, unwanted: int) -> Interval:
    """Return the 95% interval of a share of so many wanted and unwanted answers.

    It is method 5 of Newcombe (Statistics in Medicine 25, 2006, 559–573), whose width is that of the
    true share, not of the measured one: a perfect order of few answers is not certain.
    """
    if not wanted or not unwanted:
        return Interval(0.0, 1.0)

    def exceeds(value: float) -> bool:
        return abs(share - value) > Z * _find_deviation(value, wanted, unwanted)

    return Interval(_bisect(share, 0.0, exceeds), _bisect(share, 1.0, exceeds))


def find_provable_gain(wanted: int, unwanted: int) -> float | None:
    """Return the smallest gain over chance that so many answers can show; None if they can show none."""
    if not wanted or not unwanted or 2 / math.comb(wanted + unwanted, wanted) >= ALPHA:
        return None
    gain = Z * _find_deviation(CHANCE, wanted, unwanted)
    return gain if gain <= CHANCE else None


def test_ranking(wanted: Sequence[float], unwanted: Sequence[float]) -> PairedTest:
    """Compare a ranking with chance, 0.5: the change is from there.

    The p-value is a permutation test of the labels, which needs no assumption on the scores.
    """
    import numpy as np

    scores = np.asarray([*wanted, *unwanted], dtype=float)
    count, share = len(wanted), compute_share(wanted, unwanted)
    bounds = bound_share(share, count, len(unwanted))
    random, distance = np.random.default_rng(_SEED), abs(share - CHANCE) - 1e-9
    further = 0
    for _ in range(_RESAMPLES):
        drawn = random.permutation(scores)
        further += abs(_share(drawn[:count], drawn[count:]) - CHANCE) >= distance
    p = (1 + further) / (1 + _RESAMPLES)
    return allow_chance(PairedTest(share - CHANCE, bounds.low - CHANCE, bounds.high - CHANCE, p))


def compare_rankings(
    wanted: Sequence[tuple[float, float]], unwanted: Sequence[tuple[float, float]]
) -> PairedTest:
    """Compare the rankings of the same answers by two models; a pair has the scores of both.

    The interval is a bootstrap over the answers of each kind, and at least as wide as that of an equal
    ranking; the p-value swaps the models' scores of single answers at random.
    """
    import numpy as np

    above, below = np.asarray(wanted, dtype=float), np.asarray(unwanted, dtype=float)
    random = np.random.default_rng(_SEED)
    change = _compare(above, below)
    means, further = [], 0
    for _ in range(_RESAMPLES):
        means.append(
            _compare(
                above[random.integers(len(above), size=len(above))],
                below[random.integers(len(below), size=len(below))],
            )
        )
        swapped = _compare(_swap(above, random), _swap(below, random))
        further += abs(swapped) >= abs(change) - 1e-9
    low, high = (float(end) for end in np.quantile(means, [ALPHA / 2, 1 - ALPHA / 2]))
    least = 1 / (len(above) + len(below))  # equal rankings of few answers are not certain
    p = (1 + further) / (1 + _RESAMPLES)
    low, high = min(low, change - least), max(high, change + least)
    return allow_chance(PairedTest(change, max(-1.0, low), min(1.0, high), p))


def _share(wanted: Any, unwanted: Any) -> float:
    import numpy as np

    ordered = np.sort(unwanted)
    below = np.searchsorted(ordered, wanted, "left")
    up_to = np.searchsorted(ordered, wanted, "right")
    return float((below + up_to).sum() / (2 * len(wanted) * len(unwanted)))


def _compare(wanted: Any, unwanted: Any) -> float:
    first, second = (_share(wanted[:, model], unwanted[:, model]) for model in (0, 1))
    return second - first


def _swap(pairs: Any, random: Any) -> Any:
    import numpy as np

    return np.where(random.integers(2, size=len(pairs))[:, None] == 1, pairs[:, ::-1], pairs)


def _find_deviation(share: float, wanted: int, unwanted: int) -> float:
    """Return the standard deviation of a measured share, by the true one (Newcombe's method 5)."""
    more = (wanted + unwanted) / 2 - 1
    spread = 1 + more * ((1 - share) / (2 - share) + share / (1 + share))
    return math.sqrt(max(0.0, share * (1 - share) * spread / (wanted * unwanted)))


def _bisect(inner: float, outer: float, exceeds: Callable[[float], bool]) -> float:
    """Return the value furthest from ``inner`` towards ``outer`` that is not excluded."""
    for _ in range(_BISECTIONS):
        middle = (inner + outer) / 2
        inner, outer = (inner, middle) if exceeds(middle) else (middle, outer)
    return inner
