"""Where the time of a training goes, as its last steps have it, and what would save the most."""

from __future__ import annotations

import math

from ftwizard.jobs.events import measure
from ftwizard.runs import ACTIVE, RATE_WINDOW, Progress
from ftwizard.series import Series
from ftwizard.text import visible

SHARES = {"padding_share": "padding", "wait_share": "data wait", "flops_share": "FLOP use"}
"""Measures of steps, and what they are called."""


def figures(progress: Progress) -> list[tuple[str, str]]:
    """Return name and value of speed, of each share that is known, and of the setting that saves
    the most; nothing where no share is known, or it does not train."""
    if progress.phase not in ACTIVE:
        return []
    found = [
        (name, f"{100 * share:.0f} %")
        for measured, name in SHARES.items()
        if (share := _recent(progress.metrics.get(measured))) is not None
    ]
    if not found:
        return []
    speed = progress.tokens_per_s
    return [*([("speed", f"{speed:,.0f} tokens/s")] if speed else ()), *found, *_saving(progress)]


def _recent(series: Series | None) -> float | None:
    """Return the mean of the last steps, None where it is no share."""
    if series is None:
        return None
    begin = max(0, len(series) - RATE_WINDOW)
    values = [y for _, y in (series[at] for at in range(begin, len(series))) if math.isfinite(y)]
    mean = sum(values) / len(values) if values else math.nan
    return mean if 0 <= mean <= 1 else None


def _saving(progress: Progress) -> list[tuple[str, str]]:
    told = (one for one in reversed(progress.findings) if one.get("code") == "efficiency")
    newest = next(told, {})
    setting, saves = newest.get("setting"), measure(newest.get("saves"))
    if not isinstance(setting, str) or saves is None or saves > 1:
        return []
    return [("→", f"{visible(setting, 60)} would save up to {100 * saves:.0f} % of the time")]
