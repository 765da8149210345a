"""Checks of the settings of Google Vertex AI."""

from __future__ import annotations

from collections.abc import Iterator

from ftwizard.plan.platforms.rules import (
    ABOVE_0,
    AT_LEAST_1,
    PlatformChecks,
    Problem,
    Rules,
)
from ftwizard.plan.schema import Plan, Vertex

MAX_SUFFIX = 80
"""Of the 128 characters of a display name."""
GEMINI = ("learning_rate_multiplier",)
OPEN = ("learning_rate", "batch_size", "tuning_mode")
_RECIPE_NAMES = {
    "rank": "adapter_size", "epochs": "epoch_count", "batch_size": "batch_size",
    "learning_rate": "learning_rate_multiplier", "method": "tuning_mode",
}  # fmt: skip
_RULES: Rules = (
    ("epoch_count", lambda value: 1 <= value <= 100, "It must be 1 to 100."),
    ("learning_rate_multiplier", lambda value: 0 < value <= 10, "It must be above 0 and at most 10, or auto."),
    ("learning_rate", *ABOVE_0),
    ("batch_size", *AT_LEAST_1),
)  # fmt: skip


def _find_problems(settings: Vertex) -> Iterator[Problem]:
    if settings.tuning_mode == "TUNING_MODE_FULL" and settings.adapter_size != "auto":
        yield "adapter_size", "is set, but tuning_mode is TUNING_MODE_FULL.", "Remove one of them."


def _find_file_problems(plan: Plan, settings: Vertex) -> Iterator[Problem]:
    is_gemini = plan.target == "vertex-gemini"
    default = Vertex()
    for name in OPEN if is_gemini else GEMINI:
        if getattr(settings, name) != getattr(default, name):
            kind = "open models" if is_gemini else "Gemini"
            yield name, f"is set, but it is for {kind} only.", "Remove it."


def _list_unused(settings: Vertex) -> list[str]:
    return []


CHECKS = PlatformChecks(
    rules=_RULES, recipe_names=_RECIPE_NAMES, max_suffix=MAX_SUFFIX, list_unused=_list_unused,
    find_problems=_find_problems, find_file_problems=_find_file_problems,
)  # fmt: skip
