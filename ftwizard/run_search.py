"""Runs found again: words and conditions, held against what is known of each run."""

from __future__ import annotations

import contextlib
import difflib
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from ftwizard import words
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.jobs.ending import GOOD
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import RunStatus
from ftwizard.text import visible

if TYPE_CHECKING:
    from ftwizard.plan import Plan

ALIASES = {
    "rate": "learning_rate", "lr": "learning_rate", "batch": "batch_size",
    "accumulation": "gradient_accumulation", "length": "max_length", "run": "id", "best": "best_eval_loss",
    "steps": "total_steps", "eval_loss": "eval_loss",
}  # fmt: skip
"""What a setting or a figure may be called for short."""
FIGURES = ("loss", "eval_loss", "best_eval_loss", "best_step", "step", "total_steps", "epoch")
"""What can be compared with a number beside the settings."""
ASKED_FOR = ("stopped", "killed", "cancelled")
EXAMPLES = "state:finished, model:qwen, data:tickets, method:qlora, rate>1e-4, best<0.5"
_CONDITION = re.compile(r"([A-Za-z_][\w.-]*)(>=|<=|:|=|>|<)(.*)", re.DOTALL)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le,
}  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """What a search is held against."""

    id: str
    state: str
    """All words for it, in small letters."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of its plan, by their whole names: ``recipe.learning_rate``."""
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def model(self) -> str:
        return str(self.settings.get("model.name") or "")

    @property
    def data(self) -> list[str]:
        """Return the names of its files."""
        found = [v for k, v in self.settings.items() if k.startswith("data.files.") and v]
        mixed = self.settings.get("data.mix.share") and self.settings.get("data.mix.rows")
        return [*map(str, found), *([str(mixed)] if mixed else [])]


@dataclass(frozen=True)
class Term:
    """One word of a search; without a ``key`` it may stand anywhere."""

    said: str
    key: str = ""
    sign: str = ":"
    value: str = ""

    def matches(self, facts: Facts) -> bool:
        """Say whether it is true of a run."""
        value = self.value.casefold()
        if not value:  # half typed
            return True
        if not self.key:
            texts = [v for v in facts.settings.values() if isinstance(v, str)]
            return any(value in text.casefold() for text in (facts.id, facts.state, *texts))
        found = _values(facts, self.key)
        if self.sign in _COMPARE:
            bound = float(value)
            return any(_COMPARE[self.sign](float(v), bound) for v in found if _is_number(v))
        return any(_is_like(v, value, whole=self.sign == "=") for v in found)


def parse(texts: Iterable[str]) -> list[Term]:
    """Return the terms of a search, all of which must hold.

    Raises FtwizardError (USAGE) for a setting that there is not and for a number that is none.
    """
    return [_term(text) for one in texts for text in one.split()]


def matching(terms: Sequence[Term], facts: Facts) -> bool:
    """Say whether every term is true of a run."""
    return all(term.matches(facts) for term in terms)


def nothing(terms: Sequence[Term], everything: Sequence[Facts]) -> tuple[str, str]:
    """Say that nothing matches, and which word it is that nothing matches, where it is one."""
    said = " ".join(visible(term.said, 60) for term in terms)
    message = f"None of the {len(everything)} runs matches “{said}”."
    if len(everything) == 1:
        message = f"The only run does not match “{said}”."
    if len(terms) > 1:
        for term in terms:
            rest = [one for one in terms if one is not term]
            if count := sum(matching(rest, facts) for facts in everything):
                would = "1 run does" if count == 1 else f"{count} runs do"
                return message, f"Without “{visible(term.said, 60)}” {would}."
    near = difflib.get_close_matches(said, [facts.id for facts in everything], 1)
    if near:
        return message, f"Did you mean {visible(near[0])}?"
    return message, f"Searches look like: {EXAMPLES}"


def facts_of(status: RunStatus, settings: Mapping[str, Any]) -> Facts:
    """Return what a search looks at, of a run's state and the settings of its plan."""
    reason = (status.end_reason or "lost") if status.state == "ended" else ""
    said = [status.state, reason, reason.replace("_", " "), words.state(status)]
    if not reason:
        said += ["living", status.phase or ""]
    elif reason not in (*GOOD, *ASKED_FOR):
        said.append("failed")
    figures = {name: getattr(status, name) for name in FIGURES}
    known = {name: float(value) for name, value in figures.items() if value is not None}
    return Facts(status.id, "\n".join(said).casefold(), settings, known)


def settings_of(folder: JobFolder) -> dict[str, Any]:
    """Return the settings of a run's plan by their whole names; none where it cannot be read."""
    from ftwizard import plan  # plans are slow to import, and home lists runs without them

    with contextlib.suppress(FtwizardError, OSError, ValueError):
        return flat(plan.parse(folder.plan.read_text(encoding="utf-8")))
    return {}


def flat(part: Plan) -> dict[str, Any]:
    """Return settings by their whole names: ``recipe.learning_rate``."""
    found: dict[str, Any] = {}

    def go(tree: Mapping[str, Any], at: str) -> None:
        for name, value in tree.items():
            if isinstance(value, dict):
                go(value, f"{at}{name}.")
            else:
                found[at + name] = value

    go(msgspec.to_builtins(part), "")
    return found


def _term(text: str) -> Term:
    match = _CONDITION.fullmatch(text)
    if match is None:
        return Term(text, value=text)
    said, sign, value = match.groups()
    key = said.casefold().replace("-", "_")
    key = ALIASES.get(key, key)
    if key not in _keys():
        if sign in ":=" and "/" in text:  # a path or an address
            return Term(text, value=text)
        near = difflib.get_close_matches(key, [*_keys(), *ALIASES], 1)
        hint = f"Did you mean {near[0]}{sign}{visible(value, 40)}?" if near else ""
        raise FtwizardError(
            f"Runs have no “{visible(said, 40)}” to search by.",
            hint or f"Searches look like: {EXAMPLES}",
            USAGE,
        )
    if sign in _COMPARE and value and not _is_number(value):
        raise FtwizardError(
            f"{visible(text, 60)}: “{visible(value, 40)}” is no number.",
            f"A number follows {sign}, as in rate>1e-4.",
            USAGE,
        )
    return Term(text, key, sign, value)


@lru_cache
def _keys() -> frozenset[str]:
    """Return every name that can be searched by: settings whole, and by their last parts."""
    from ftwizard.plan import Plan

    found = {"id", "state", "model", "data", *FIGURES}

    def go(kind: type[msgspec.Struct], at: str) -> None:
        for one in msgspec.structs.fields(kind):
            if isinstance(one.type, type) and issubclass(one.type, msgspec.Struct):
                go(one.type, f"{at}{one.name}.")
            else:
                whole = at + one.name
                parts = whole.split(".")
                found.update(".".join(parts[i:]) for i in range(len(parts)))

    go(Plan, "")
    return frozenset(found)


def _values(facts: Facts, key: str) -> list[Any]:
    if key == "id":
        return [facts.id]
    if key == "state":
        return facts.state.split("\n")
    if key == "model":
        return [facts.model]
    if key == "data":
        return [*facts.data]
    if key in facts.figures:
        return [facts.figures[key]]
    return [v for k, v in facts.settings.items() if k == key or k.endswith(f".{key}")]


def _is_like(found: Any, value: str, *, whole: bool) -> bool:
    if found is None:
        return value == "none"
    if isinstance(found, list | tuple):
        return any(_is_like(one, value, whole=whole) for one in found)
    if isinstance(found, bool):
        return value == str(found).casefold()
    if isinstance(found, int | float):
        return _is_number(value) and float(found) == float(value)
    text = str(found).casefold()
    return text == value if whole else value in text


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True
