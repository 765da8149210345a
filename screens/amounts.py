"""Parsing of typed request and token counts."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from ftwizard.screens.cost_basis import MAX_AMOUNT
from ftwizard.text import visible

NAMES = ("Requests per month", "Input tokens", "Output tokens")
MEASURED_NOTE = "Token counts are the averages of your data."
ASSUMED_NOTE = "Token counts are typical values: your data does not show them."


def parse_amount(name: str, typed: str) -> Decimal:
    """Parse ``10,000``, ``10k`` or ``1.5M``; raise ValueError with a message."""
    text = typed.strip().replace(",", "").replace("_", "").replace(" ", "")
    factor = {"k": 10**3, "m": 10**6, "g": 10**9}.get(text[-1:].lower(), 1)
    try:
        amount = Decimal(text[:-1] if factor > 1 else text) * factor
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or not 0 < amount <= MAX_AMOUNT:
        wrong = (
            f"“{visible(typed.strip(), 24)}” is not a number" if typed.strip() else "enter a number"
        )
        raise ValueError(f"{name}: {wrong} from 1 to {MAX_AMOUNT:,f}.")
    return amount
