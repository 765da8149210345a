"""Checks of the settings of OpenAI's API, which Microsoft Foundry has as well."""

from __future__ import annotations

from collections.abc import Iterator

from ftwizard.plan.platforms.rules import (
    ABOVE_0,
    AT_LEAST_1,
    VALIDATION_HINT,
    PlatformChecks,
    Problem,
    Rules,
)
from ftwizard.plan.schema import OpenAI, Plan

MAX_METADATA = 15
"""Pairs of notes on a job at OpenAI, which allows 16: one is ftwizard's own."""
RESERVED_METADATA = "ftwizard_run"
"""Key of ftwizard's own pair, by which a run finds its job."""
MAX_METADATA_KEY = 64
MAX_METADATA_VALUE = 512
REINFORCEMENT = ("reasoning_effort", "compute_multiplier", "eval_interval", "eval_samples", "grader")  # fmt: skip
GRADER_HINT = (
    "Write OpenAI's grader object (type, name, …), name a JSON or YAML file with it, or a Python file."
    " Template: ftwizard grader new FILE.py"
)
_RECIPE_NAMES = {
    "epochs": "n_epochs", "batch_size": "batch_size", "seed": "seed",
    "learning_rate": "learning_rate_multiplier",
}  # fmt: skip
_RULES: Rules = (
    ("n_epochs", lambda value: 1 <= value <= 50, "It must be 1 to 50, or auto."),
    ("batch_size", lambda value: 1 <= value <= 256, "It must be 1 to 256, or auto."),
    ("learning_rate_multiplier", ABOVE_0[0], "It must be above 0, or auto."),
    (
        "compute_multiplier",
        lambda value: 1e-5 < value <= 10,
        "It must be above 0.00001 and at most 10, or auto.",
    ),
    ("beta", lambda value: 0 < value <= 2, "It must be above 0 and at most 2, or auto."),
    ("eval_interval eval_samples", AT_LEAST_1[0], "It must be at least 1, or auto."),
    ("seed", lambda value: 0 <= value < 1 << 31, "It must be 0 to 2147483647."),
)


def _find_problems(settings: OpenAI) -> Iterator[Problem]:
    default = OpenAI()
    method = f"is set, but method is {settings.method}."
    for name in REINFORCEMENT:
        if settings.method != "reinforcement" and getattr(settings, name) != getattr(default, name):
            yield name, method, "Remove it, or set method to reinforcement."
    if settings.method != "dpo" and settings.beta != default.beta:
        yield "beta", method, "Remove it, or set method to dpo."
    if settings.method == "reinforcement" and not settings.grader:
        yield (
            "grader",
            "is missing: reinforcement needs one to score the answers.",
            GRADER_HINT,
        )
    if len(settings.metadata) > MAX_METADATA:
        problem = f"has {len(settings.metadata)} pairs."
        yield "metadata", problem, f"Keep at most {MAX_METADATA}."
    for key, text in settings.metadata.items():
        if key == RESERVED_METADATA:
            yield "metadata", f"has the key {key}, which names the run.", "Remove it."
        if not 1 <= len(key) <= MAX_METADATA_KEY:
            problem = f"has a key of {len(key)} characters."
            yield "metadata", problem, f"It must have 1 to {MAX_METADATA_KEY}."
        if len(text) > MAX_METADATA_VALUE:
            problem = f"has a value of {len(text)} characters."
            yield "metadata", problem, f"It must have at most {MAX_METADATA_VALUE}."


def _find_file_problems(plan: Plan, settings: OpenAI) -> Iterator[Problem]:
    if settings.method == "reinforcement" and not plan.has_validation:
        yield "method", "is reinforcement, which needs validation data.", VALIDATION_HINT


def _list_unused(plan: Plan, settings: OpenAI) -> list[str]:
    unused = [] if settings.method == "dpo" else ["beta"]
    return unused + ([] if settings.method == "reinforcement" else [*REINFORCEMENT])


CHECKS = PlatformChecks(
    rules=_RULES, recipe_names=_RECIPE_NAMES, max_suffix=64, list_unused=_list_unused,
    find_problems=_find_problems, find_file_problems=_find_file_problems,
)  # fmt: skip
