"""Search over runs: words and conditions, matched against the fields of each run."""

from __future__ import annotations

import contextlib
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from ftwizard.errors import USAGE, FtwizardError
from ftwizard.jobs.ending import END_NAMES, GOOD_END_REASONS
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import describe, watched
from ftwizard.runs.store import RunStatus
from ftwizard.text import find_similar, format_suggestion, make_visible

if TYPE_CHECKING:
    from ftwizard.plan.schema import Plan

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


@dataclass(frozen=True)
class RunFields:
    id: str
    states: Sequence[str]
    """All names of its state, in lower case."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of its plan by full name: ``recipe.learning_rate``."""
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def data(self) -> list[str]:
        """Return the names of its data files."""
        files = [v for k, v in self.settings.items() if k.startswith("data.files.") and v]
        mixed = self.settings.get("data.mix.share") and self.settings.get("data.mix.rows")
        return [*map(str, files), *([str(mixed)] if mixed else [])]


@dataclass(frozen=True)
class SearchTerm:
    """One term of a search; without a ``key`` it matches any text field."""

    text: str
    key: str = ""
    sign: str = ":"
    value: str = ""

    def matches(self, facts: RunFields) -> bool:
        value = self.value.casefold()
        if not value:  # typed only in part
            return True
        if not self.key:
            texts = [v for v in facts.settings.values() if isinstance(v, str)]
            return any(value in text.casefold() for text in (facts.id, *facts.states, *texts))
        fields = _get_values(facts, self.key)
        if self.sign in _COMPARE:
            bound = float(value)
            return any(_COMPARE[self.sign](float(v), bound) for v in fields if _is_number(v))
        return any(_is_like(v, value, whole=self.sign == "=") for v in fields)


def parse(texts: Iterable[str]) -> list[SearchTerm]:
    """Parse a search into terms, all of which must match.

    Raises FtwizardError (USAGE) for an unknown name or an invalid number.
    """
    return [_parse_term(word) for text in texts for word in text.split()]


def matches_all(terms: Sequence[SearchTerm], facts: RunFields) -> bool:
    return all(term.matches(facts) for term in terms)


def explain_no_match(
    terms: Sequence[SearchTerm], everything: Sequence[RunFields]
) -> tuple[str, str]:
    """Return a message that nothing matches, and a hint with the term that excludes all runs."""
    query = " ".join(make_visible(term.text, 60) for term in terms)
    message = f"None of the {len(everything)} runs matches “{query}”."
    if len(everything) == 1:
        message = f"The only run does not match “{query}”."
    if len(terms) > 1:
        for term in terms:
            rest = [other_term for other_term in terms if other_term is not term]
            if count := sum(matches_all(rest, facts) for facts in everything):
                matches = "1 run matches" if count == 1 else f"{count} runs match"
                return message, f"Without “{make_visible(term.text, 60)}”, {matches}."
    states = {state for facts in everything for state in (*facts.states, *END_NAMES)}
    near = [f"state:{state}" for state in sorted(states) if state and " " not in state]
    hint = format_suggestion(query, [*(facts.id for facts in everything), *near])
    return message, hint or f"Examples: {EXAMPLES}"


def from_status(status: RunStatus, settings: Mapping[str, Any]) -> RunFields:
    """Return the searchable fields of a run from its status and the settings of its plan."""
    reason = (status.end_reason or "lost") if status.state == "ended" else ""
    states = [status.state]
    if not reason:
        phase = status.phase or ""
        states += ["living", phase, describe.format_phase(phase), *status.troubles]
    else:
        states += [reason, reason.replace("_", " "), END_NAMES.get(reason, "")]
        if reason not in (*GOOD_END_REASONS, *_REQUESTED_ENDS):
            states.append("failed")
    figures = {name: getattr(status, name) for name in FIGURES}
    present = {name: float(value) for name, value in figures.items() if value is not None}
    return RunFields(status.id, [name.casefold() for name in states], settings, present)


def read_settings(folder: JobFolder) -> dict[str, Any]:
    """Return the settings of a run's plan by full name; empty if it cannot be read.

    Of a watched run, which has no plan, what is known of its script.
    """
    from ftwizard.plan import (
        changes,
        plan_file,
    )  # slow to import, and home lists runs without plans

    with contextlib.suppress(FtwizardError, OSError, ValueError):
        return flatten(changes.pin_defaults(plan_file.read_run(folder)))
    return watched.list_settings(folder)


def flatten(plan: Plan) -> dict[str, Any]:
    """Return the settings of a plan by full name: ``recipe.learning_rate``."""
    return _flatten_tree(msgspec.to_builtins(plan), "")


def _flatten_tree(tree: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            settings |= _flatten_tree(value, f"{prefix}{name}.")
        else:
            settings[prefix + name] = value
    return settings


def _parse_term(text: str) -> SearchTerm:
    match = _CONDITION.fullmatch(text)
    if match is None:
        return SearchTerm(text, value=text)
    name, sign, value = match.groups()
    key = name.casefold().replace("-", "_")
    key = ALIASES.get(key, key)
    if key not in _keys():
        if sign in ":=" and "/" in text:  # a path or a URL
            return SearchTerm(text, value=text)
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
    return SearchTerm(text, key, sign, value)


@lru_cache
def _keys() -> frozenset[str]:
    """Return all searchable names: settings by full name and by each of its suffixes."""
    from ftwizard.plan.schema import Data, Files, Model, Plan

    names = {"id", "state", "model", "data", *FIGURES}
    for name in flatten(Plan(data=Data(files=Files(train="")), model=Model(name=""))):
        parts = name.split(".")
        names.update(".".join(parts[i:]) for i in range(len(parts)))
    return frozenset(names)


def _get_values(facts: RunFields, key: str) -> list[Any]:
    model = str(facts.settings.get("model.name") or "")
    values = {"id": [facts.id], "state": facts.states, "model": [model], "data": facts.data}
    if key in values:
        return [*values[key]]
    if key in facts.figures:
        return [facts.figures[key]]
    return [v for k, v in facts.settings.items() if k == key or k.endswith(f".{key}")]


def _is_like(field_value: Any, value: str, *, whole: bool) -> bool:
    if field_value is None:
        return value == "none"
    if isinstance(field_value, list | tuple):
        return any(_is_like(item, value, whole=whole) for item in field_value)
    if isinstance(field_value, bool):
        return value == str(field_value).casefold()
    if isinstance(field_value, int | float):
        return _is_number(value) and float(field_value) == float(value)
    text = str(field_value).casefold()
    return text == value if whole else value in text


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True
