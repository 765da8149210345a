"""Texts of the question for the hourly price of this machine."""

from __future__ import annotations

from typing import Any

import msgspec

from ftwizard import hour_price
from ftwizard.figure import Figure

QUESTION = "What does this machine cost per hour?"
NAME = "US dollars per hour"
WHY = "Rent, or power and wear. The cost of a run is its time × this price."
REMEMBER = "Save this price?"


def describe_saving() -> str:
    """Describe what saving the price does."""
    return f"Later estimates and runs use it. It is saved in {hour_price.shown_file()}."


def describe_rental(estimate: dict[str, Any] | None) -> str:
    """Describe the rental price of the estimate's GPU; empty if unknown."""
    rental = ((estimate or {}).get("hour") or {}).get("rental")
    return hour_price.guide(msgspec.convert(rental, Figure | None))
