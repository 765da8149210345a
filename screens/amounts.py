"""Numbers of requests and tokens as they are typed."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from ftwizard.screens.cost_basis import MOST
from ftwizard.text import visible

NAMES = ("Requests a month", "Tokens in", "Tokens out")
SEEN = "The tokens of a request and its answer are the means of your rows."
USUAL = "The tokens of a request and its answer are a guess: your rows tell nothing of them."


def read(name: str, typed: str) -> Decimal:
    """Return a number as it was typed: ``10,000``, ``10k``, ``1.5M``; ValueError with a sentence."""
    text = typed.strip().replace(",", "").replace("_", "").replace(" ", "")
    factor = {"k": 10**3, "m": 10**6, "g": 10**9}.get(text[-1:].lower(), 1)
    try:
        found = Decimal(text[:-1] if factor > 1 else text) * factor
    except InvalidOperation:
        found = Decimal(0)
    if not found.is_finite() or not 0 < found <= MOST:
        what = f"“{visible(typed.strip(), 24)}” is no number" if typed.strip() else "say a number"
        raise ValueError(f"{name}: {what} from 1 to {MOST:,f}.")
    return found
