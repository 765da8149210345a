"""Cost and training time of a run compared with its budget."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from ftwizard.catalog.prices import PriceRate
from ftwizard.jobs.clock import Instant
from ftwizard.plan.schema import Budget
from ftwizard.runs.progress import Progress
from ftwizard.screens.monitor.readings import format_spent


def rate(usd: str, **more: Any) -> PriceRate:
    return PriceRate(
        usd=Decimal(usd), unit="hour", source="own", as_of="2026-11", confidence="high", **more
    )


def progress(*points: tuple[float, int, str]) -> Progress:
    """Return the progress of a run with phases at (time, attempt, phase)."""
    progress = Progress()
    progress.feed([
        {"t": t, "attempt": attempt, "kind": "phase", "phase": phase} for t, attempt, phase in points
    ])  # fmt: skip
    return progress


TWO_ATTEMPTS = progress(
    (0, 1, "loading"), (600, 1, "training"), (3600, 1, "saving"),
    (10_000, 2, "loading"), (10_600, 2, "training"), (10_960, 2, "training"),
)  # fmt: skip
"""Attempts of 3600 s and, so far, 960 s, with 3000 s and 360 s of training."""


def test_cost_covers_all_attempts_but_hours_only_the_newest_training() -> None:
    both = Budget(usd=5.0, hours=2.0)
    assert format_spent(TWO_ATTEMPTS, rate("1"), both, None) == (
        "cost",
        "$1.27 of $5.00 · 0.1 of 2 h",
    )
    assert format_spent(TWO_ATTEMPTS, rate("1"), both, Instant(14_560.0)) == (
        "cost",
        "$2.27 of $5.00 · 1.1 of 2 h",
    )


def test_spent_shows_only_known_amounts() -> None:
    assert format_spent(TWO_ATTEMPTS, None, Budget(), Instant(11_000.0)) is None
    assert format_spent(TWO_ATTEMPTS, None, Budget(usd=5.0), Instant(11_000.0)) is None, (
        "no cost without a price"
    )
    assert format_spent(TWO_ATTEMPTS, None, Budget(hours=0.25), None) == ("time", "6 of 15 min")
    dear = rate("1", low=Decimal("0.5"), high=Decimal(3))
    assert format_spent(TWO_ATTEMPTS, dear, Budget(), None) == ("cost", "$0.63–3.80")


@pytest.mark.parametrize("phase", ["loading", "merging"])
def test_loading_and_merging_do_not_count_as_training_hours(phase: str) -> None:
    done = progress(
        (0, 1, "training"), (3600, 1, "saving"), (3600, 2 - (phase == "merging"), phase)
    )
    points = {"loading": "0.0 of 4 h", "merging": "1.0 of 4 h"}[phase]
    assert format_spent(done, None, Budget(hours=4), Instant(90_000.0)) == ("time", points)
