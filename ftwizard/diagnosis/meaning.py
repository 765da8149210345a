"""The meaning of a pattern: its severity, text and actions, and how its figures are formatted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ftwizard.diagnosis.curve import Value

Evidence = dict[str, Value]
Severity = Literal["info", "warning", "error"]
Action = Literal[
    "go_on", "stop", "stop_keep_best", "save", "evaluate",
    "again_half_rate", "again_more_accumulation", "again_half_rate_more_accumulation",
    "again_usual_rate", "again_higher_rate", "again_ten_times_rate", "check_data",
]  # fmt: skip
"""``again_…``: a child run, from a checkpoint or from the start, with that setting changed;
``higher``: five times the learning rate."""


@dataclass(frozen=True)
class Meaning:
    """A pattern in words and actions."""

    name: str
    severity: Severity | Callable[[Evidence], Severity]
    message: str | Callable[[Evidence, str], str]
    """A template, or a function of the evidence and the description of the best evaluation."""
    action: str | Callable[[Evidence], str]
    actions: tuple[Action, ...] | Callable[[Evidence], tuple[Action, ...]]


def format_loss(value: Value) -> str:
    """Format a loss with four significant digits."""
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def format_change(evidence: Evidence, name: str) -> str:
    """Format the values at the start and now: ``0.5 → 0.78``."""
    return f"{format_level(evidence[f'{name}_start'])} → {format_level(evidence[f'{name}_now'])}"


def format_level(value: Value) -> str:
    """Format a noisy level: three significant digits, never an exponent."""
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 5e-4 else "0"


def format_percent(value: Value, digits: int = 1) -> str:
    """Format a share as a percentage."""
    return f"{100 * value:.{digits}f}%" if isinstance(value, int | float) else "?"


def format_count(count: Value, noun: str) -> str:
    """Format a count with its noun in the singular or plural."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
