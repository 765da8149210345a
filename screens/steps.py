"""The steps of the wizard, as its bar names them."""

from __future__ import annotations

STEPS = ("Provider", "Data", "Recipe", "Estimate", "Review")
