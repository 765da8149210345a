"""What is said where the price of an hour of this machine is asked for, on screens and in lines."""

from __future__ import annotations

from typing import Any

import msgspec

from ftwizard import hour_price
from ftwizard.figure import Figure

QUESTION = "What does an hour of this machine cost?"
NAME = "US dollars an hour"
WHY = "Rent, or power and wear: what a run costs is its time × this. Nobody else knows it."
REMEMBER = "Remember it?"


def remembering() -> str:
    """Return what remembering a price means."""
    return f"Every later estimate and run then goes by it; it stands in {hour_price.shown_file()}."


def guide_of(estimate: dict[str, Any] | None) -> str:
    """Return what the card of an estimate is rented for, in words; empty where none is known."""
    rental = ((estimate or {}).get("hour") or {}).get("rental")
    return hour_price.guide(msgspec.convert(rental, Figure | None))
