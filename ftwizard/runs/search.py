"""Search over runs: words and conditions, matched against the fields of each run."""

from __future__ import annotations

import contextlib
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ftwizard.errors import USAGE, FtwizardError
from ftwizard.jobs.ending import END_NAMES, GOOD_END_REASONS
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import describe, watched
from ftwizard.runs.store import RunStatus
from ftwizard.text import find_similar, format_suggestion, make_visible

ALIASES = {
    "rate": "learning_rate", "lr": "learning_rate", "batch": "batch_size",
    "accumulation": "gradient_accumulation", "length": "max_length", "run": "id", "best": "best_eval_loss",
    "steps": "total_steps",
}  # fmt: skip
"""Short names of settings and figures."""
FIGURES = ("loss", "eval_loss", "best_eval_loss", "best_step", "step", "total_steps", "epoch")
"""Figures that can be compared with a number, like settings."""
_REQUESTED_ENDS = ("stopped", "killed", "cancelled")
EXAMPLES = "state:finished, model:qwen, data:tickets, method:qlora, lr>1e-4, best<0.5"
_CONDITION = re.compile(r"([A-Za-z_][\w.-]*)(>=|<=|:|=|>|<)(.*)", re.DOTALL)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le,
}  # fmt: skip
RunFields = Mapping[str, Any]
"""Values of a run by name: ``id``, all names of its ``state``, ``model``, ``data`` (its files), figures,
and the settings of its plan by full name: ``recipe.learning_rate``."""


@dataclass(frozen=True)
class SearchTerm:
    """One term of a search; without a ``key`` it matches any text field."""

    text: str
    value: str
    key: str = ""
    sign: str = ":"

    def matches(self, fields: RunFields) -> bool:
        value = self.value.casefold()
        if not value:  # typed only in part
            return True
        if not self.key:
            texts = (v for v in fields.values() if isinstance(v, str | list))
            return any(_is_like(text, value, whole=False) for text in texts)
        values = _get_values(fields, self.key)
        if compare := _COMPARE.get(self.sign):
            numbers = filter(_is_number, values)
            return any(compare(float(number), float(value)) for number in numbers)
        return any(_is_like(v, value, whole=self.sign == "=") for v in values)


def parse(texts: Iterable[str]) -> list[SearchTerm]:
    """Parse a search into terms, all of which must match.

    Raises FtwizardError (USAGE) for an unknown name or an invalid number.
    """
    return [_parse_term(word) for text in texts for word in text.split()]


def matches_all(terms: Sequence[SearchTerm], fields: RunFields) -> bool:
    return all(term.matches(fields) for term in terms)


def explain_no_match(
    terms: Sequence[SearchTerm], everything: Sequence[RunFields]
) -> tuple[str, str]:
    """Return a message that nothing matches, and a hint with the term that excludes all runs."""
    query = " ".join(make_visible(term.text, 60) for term in terms)
    message = f"None of the {len(everything)} runs matches “{query}”."
    if len(everything) == 1:
        message = f"The only run does not match “{query}”."
    for term in terms if len(terms) > 1 else ():
        rest = [other_term for other_term in terms if other_term is not term]
        if count := sum(matches_all(rest, fields) for fields in everything):
            matches = "1 run matches" if count == 1 else f"{count} runs match"
            return message, f"Without “{make_visible(term.text, 60)}”, {matches}."
    states = {state for fields in everything for state in (*fields["state"], *END_NAMES)}
    near = [f"state:{state}" for state in sorted(states) if state and " " not in state]
    hint = format_suggestion(query, [*(fields["id"] for fields in everything), *near])
    return message, hint or f"Examples: {EXAMPLES}"


def from_status(status: RunStatus, settings: Mapping[str, Any]) -> RunFields:
    """Return the searchable fields of a run from its status and the settings of its plan."""
    if status.state == "ended":
        reason = status.end_reason or "lost"
        names = [reason, reason.replace("_", " "), END_NAMES.get(reason, "")]
        if reason not in (*GOOD_END_REASONS, *_REQUESTED_ENDS):
            names.append("failed")
    else:
        phase = status.phase or ""
        names = ["living", phase, describe.format_phase(phase), *status.troubles]
    figures = {name: getattr(status, name) for name in FIGURES}
    mixed = settings.get("data.mix.share") and settings.get("data.mix.rows")
    files = [value for name, value in settings.items() if name.startswith("data.files.")]
    return {
        **settings,
        **{name: value for name, value in figures.items() if value is not None},
        "id": status.id,
        "state": [name.casefold() for name in (status.state, *names)],
        "model": settings.get("model.name") or "",
        "data": [str(file) for file in (*files, mixed) if file],
    }


def read_settings(folder: JobFolder) -> dict[str, Any]:
    """Return the settings of a run's plan by full name; empty if it cannot be read.

    Of a watched run, which has no plan, what is known of its script.
    """
    from ftwizard.plan import (
        changes,
        plan_file,
    )  # slow to import, and home lists runs without plans

    with contextlib.suppress(FtwizardError, OSError, ValueError):
        return changes.list_settings(changes.pin_defaults(plan_file.read_run(folder)))
    return watched.list_settings(folder)


def _parse_term(text: str) -> SearchTerm:
    match = _CONDITION.fullmatch(text)
    if match is None:
        return SearchTerm(text, text)
    name, sign, value = match.groups()
    key = name.casefold().replace("-", "_")
    key = ALIASES.get(key, key)
    if key not in _keys():
        if sign in ":=" and "/" in text:  # a path or a URL
            return SearchTerm(text, text)
        near = find_similar(key, [*_keys(), *ALIASES])
        hint = f"Did you mean {near}{sign}{make_visible(value, 40)}?" if near else ""
        message = f"Runs have no field “{make_visible(name, 40)}”."
        raise FtwizardError(message, hint or f"Examples: {EXAMPLES}", USAGE)
    if sign in _COMPARE and value and not _is_number(value):
        raise FtwizardError(
            f"{make_visible(text, 60)}: “{make_visible(value, 40)}” is not a number.",
            f"Write a number after {sign}, as in lr>1e-4.",
            USAGE,
        )
    return SearchTerm(text, value, key, sign)


@lru_cache
def _keys() -> frozenset[str]:
    """Return all searchable names: settings by full name and by each of its suffixes."""
    from ftwizard.plan.changes import EFFECTS

    names = {"id", "state", "model", "data", *FIGURES}
    for name in EFFECTS:
        parts = name.split(".")
        names.update(".".join(parts[i:]) for i in range(len(parts)))
    return frozenset(names)


def _get_values(fields: RunFields, key: str) -> list[Any]:
    if key in fields:
        return [fields[key]]
    return [value for name, value in fields.items() if name.endswith(f".{key}")]


def _is_like(field_value: Any, value: str, *, whole: bool) -> bool:
    if isinstance(field_value, list | tuple):
        return any(_is_like(item, value, whole=whole) for item in field_value)
    if _is_number(field_value) and not isinstance(field_value, str):
        return _is_number(value) and float(field_value) == float(value)
    text = str(field_value).casefold()
    return value in text if isinstance(field_value, str) and not whole else value == text


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True
