"""Parts of the checks of a platform's settings: bounds of values, and what a platform's module offers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ftwizard.plan.schema import Plan

Problem = tuple[str, str, str]
"""Name of a setting, what is wrong with it, and the fix."""
Rules = tuple[tuple[str, Callable[[float], bool], str], ...]
"""Names of settings with blanks between them, the check of a value, and the fix."""
AT_LEAST_1 = (lambda value: 1 <= value < math.inf, "It must be at least 1.")
ABOVE_0 = (lambda value: 0 < value < math.inf, "It must be above 0.")
AT_LEAST_0 = (lambda value: 0 <= value < math.inf, "It must be at least 0.")
RATIO = (lambda value: 0 <= value <= 1, "It must be 0 to 1.")
VALIDATION_HINT = "Set data.split.validation to 0.1, or data.files.validation to a file."


class PlatformChecks(NamedTuple):
    """What is checked of a platform's settings."""

    rules: Rules
    """Bounds of numbers; other values are not checked by them."""
    recipe_names: dict[str, str]
    """The platform's own name for a setting of ``recipe``."""
    max_suffix: int
    """Characters of a suffix."""
    list_unused: Callable[[Plan, Any], list[str]]
    """List the settings that the chosen method, or the family of the model, does not use."""
    find_problems: Callable[[Any], Iterator[Problem]]
    """Find settings that do not fit each other."""
    find_file_problems: Callable[[Plan, Any], Iterator[Problem]]
    """Find settings that the plan's data does not fit."""
