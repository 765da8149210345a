"""Training efficiency over the last steps, and the setting that would save the most time."""

from __future__ import annotations

import math

from ftwizard.jobs.events import measure
from ftwizard.runs import ACTIVE, RATE_WINDOW, Progress
from ftwizard.series import Series
from ftwizard.text import visible

SHARES = {"padding_share": "padding", "wait_share": "data wait", "flops_share": "MFU"}
"""Step metrics and their labels."""


def list_figures(progress: Progress) -> list[tuple[str, str]]:
    """Return name and value of the speed, of each known share and of the best saving.

    The list is empty while no share is known or the run is not training.
    """
    if progress.phase not in ACTIVE:
        return []
    shares = [
        (name, f"{100 * share:.0f}%")
        for measured, name in SHARES.items()
        if (share := _recent_mean(progress.metrics.get(measured))) is not None
    ]
    if not shares:
        return []
    speed = progress.tokens_per_s
    speeds = [("speed", f"{speed:,.0f} tokens/s")] if speed else []
    return [*speeds, *shares, *_best_saving(progress)]


def _recent_mean(series: Series | None) -> float | None:
    """Return the mean of the last steps, None if it is not between 0 and 1."""
    if series is None:
        return None
    begin = max(0, len(series) - RATE_WINDOW)
    points = (series[index] for index in range(begin, len(series)))
    values = [y for _, y in points if math.isfinite(y)]
    mean = sum(values) / len(values) if values else math.nan
    return mean if 0 <= mean <= 1 else None


def _best_saving(progress: Progress) -> list[tuple[str, str]]:
    newest_first = reversed(progress.findings)
    finding = next((item for item in newest_first if item.get("code") == "efficiency"), {})
    setting, saved_share = finding.get("setting"), measure(finding.get("saves"))
    if not isinstance(setting, str) or saved_share is None or saved_share > 1:
        return []
    return [("→", f"{visible(setting, 60)} would save up to {100 * saved_share:.0f}% of the time")]
