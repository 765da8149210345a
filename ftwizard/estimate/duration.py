"""Time of the training alone, from the speed that earlier runs of this model reached here.

Loading the model before it, and merging and comparing after it, come on top.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable

import msgspec

from ftwizard.figure import Figure

SPREAD = 1.5
"""Low and high are the middle divided and multiplied by this where one run alone is known."""


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """How fast an earlier run was."""

    run: str
    tokens_per_s: float
    """Over its last steps, evaluations included."""


def training(tokens: float, speeds: Iterable[Speed]) -> Figure | None:
    """Return the seconds that training on ``tokens`` takes, None before a run to learn from."""
    known = [speed for speed in speeds if speed.tokens_per_s > 0]
    if not known:
        return None
    rates = [speed.tokens_per_s for speed in known]
    middle = statistics.median(rates)
    fast, slow = max(*rates, middle * SPREAD), min(*rates, middle / SPREAD)
    names = ", ".join(speed.run for speed in known[-3:])
    return Figure(
        value=tokens / middle,
        unit="s",
        low=tokens / fast,
        high=tokens / slow,
        source=f"at the speed of earlier runs of this model here: {names}; loading, merging and "
        "comparing come on top",
    )
