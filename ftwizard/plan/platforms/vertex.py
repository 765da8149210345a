"""Checks of the settings of Google Vertex AI."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ftwizard.plan.platforms.model_limits import find_model, find_region_problems, join_words
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
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]\Z")
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
    if not settings.bucket:
        hint = "Name a Cloud Storage bucket of yours near the location of the job, without gs://."
        yield "bucket", "is missing: the rows go there.", hint
    elif not _BUCKET.match(settings.bucket):
        hint = "Give its name alone, without gs:// and folder: prefix has the folder."
        yield "bucket", "is not the name of a Cloud Storage bucket.", hint
    if settings.tuning_mode == "TUNING_MODE_FULL" and settings.adapter_size != "auto":
        yield "adapter_size", "is set, but tuning_mode is TUNING_MODE_FULL.", "Remove one of them."


def _find_file_problems(plan: Plan, settings: Vertex) -> Iterator[Problem]:
    is_gemini = plan.target == "vertex-gemini"
    default = Vertex()
    for name in OPEN if is_gemini else GEMINI:
        if getattr(settings, name) != getattr(default, name):
            kind = "open models" if is_gemini else "Gemini"
            yield name, f"is set, but it is for {kind} only.", "Remove it."
    yield from find_region_problems(plan, settings)
    yield from _find_size_problems(plan, settings)


def _find_size_problems(plan: Plan, settings: Vertex) -> Iterator[Problem]:
    """Yield an adapter size, or a mode of tuning, that the model does not have."""
    model = find_model(plan)
    if model is None:
        return
    sizes = model.adapter_sizes
    if settings.adapter_size != "auto" and settings.adapter_size not in sizes:
        fix = f"Set it to {join_words(tuple(map(str, sizes)))}." if sizes else "Remove it."
        problem = f"is {settings.adapter_size}, which {model.name} does not have."
        if not sizes:
            problem = f"is set, but {model.name} is tuned without an adapter."
        yield "adapter_size", problem, fix
    if settings.tuning_mode == "TUNING_MODE_FULL" and not model.full:
        problem = f"is TUNING_MODE_FULL, but {model.name} is tuned with an adapter only."
        yield "tuning_mode", problem, "Remove it."
    if settings.tuning_mode == "TUNING_MODE_PEFT_ADAPTER" and not sizes:
        problem = f"is TUNING_MODE_PEFT_ADAPTER, but {model.name} is tuned without an adapter."
        yield "tuning_mode", problem, "Remove it."


def _list_unused(plan: Plan, settings: Vertex) -> list[str]:
    if plan.target == "vertex-gemini":
        return [*OPEN]
    model = find_model(plan)
    is_full = settings.tuning_mode == "TUNING_MODE_FULL" or (model and not model.adapter_sizes)
    return [*GEMINI, "export_last_checkpoint_only", *(["adapter_size"] if is_full else [])]


CHECKS = PlatformChecks(
    rules=_RULES, recipe_names=_RECIPE_NAMES, max_suffix=MAX_SUFFIX, list_unused=_list_unused,
    find_problems=_find_problems, find_file_problems=_find_file_problems,
)  # fmt: skip
