"""Settings, rules and reasons of ``assets/recipe_rules.toml``, and the advice built from them."""

from __future__ import annotations

import functools
import math
import operator
import typing
from collections.abc import Iterator
from types import NoneType
from typing import Any, Literal

import msgspec

from ftwizard.catalog.sourced import Sourced, load_asset
from ftwizard.objectives import ObjectiveName
from ftwizard.plan.schema import (
    DPO,
    GRPO,
    KTO,
    Bedrock,
    Budget,
    Data,
    Evaluate,
    Finish,
    Foundry,
    Gate,
    Hosted,
    Judge,
    Mantle,
    Method,
    OpenAI,
    Plan,
    Recipe,
    Samples,
    Slurm,
    Together,
    Vertex,
    Wandb,
    Where,
)

PARTS: dict[str, type[msgspec.Struct]] = {
    "recipe": Recipe, "recipe.dpo": DPO, "recipe.kto": KTO, "recipe.grpo": GRPO, "where": Where,
    "slurm": Slurm, "samples": Samples, "data": Data, "budget": Budget, "gate": Gate,
    "evaluate": Evaluate, "evaluate.judge": Judge, "finish": Finish, "hosted": Hosted,
    "openai": OpenAI, "foundry": Foundry, "together": Together, "bedrock": Bedrock,
    "mantle": Mantle, "vertex": Vertex, "openai.wandb": Wandb, "foundry.wandb": Wandb,
    "together.wandb": Wandb,
}  # fmt: skip
"""Parts of a plan with settings."""
TYPES = {part: typing.get_type_hints(kind) for part, kind in PARTS.items()}
"""Types of their fields."""
_KEYED_BY_PART = frozenset({"recipe.dpo", "recipe.kto", "recipe.grpo", "where", "slurm"})
"""Parts whose settings are named with the part, as others have fields of the same name."""
SAFE = 0.95
"""Share of a GPU's memory that an estimate may use."""


class AdvisedValue(Sourced, frozen=True, kw_only=True):
    """A recommended value for one setting, with its reason."""

    name: str
    value: str | float | bool | None
    reason: str


class RuleReason(Sourced, frozen=True, kw_only=True):
    """A reason, with placeholders."""

    reason: str

    def advise(self, name: str, value: str | float | bool | None, reason: str) -> AdvisedValue:
        """Build advice with this source, and ``reason`` instead of the one with placeholders."""
        return AdvisedValue(
            name=name, value=value, reason=reason, as_of=self.as_of, source=self.source
        )


class LearningRateRule(RuleReason, frozen=True, kw_only=True):
    """A learning rate for methods and model sizes."""

    methods: tuple[Method, ...]
    objectives: tuple[ObjectiveName, ...] = ("sft",)
    up_to: float = math.inf
    """Largest number of parameters."""
    value: float


class EpochsRule(RuleReason, frozen=True, kw_only=True):
    """Epochs for a minimum number of rows."""

    rows: int = msgspec.field(name="from")
    objectives: tuple[ObjectiveName, ...] = ("sft",)
    value: float


class MinimumMemory(Sourced, frozen=True, kw_only=True):
    """Minimum memory of a method, in bytes per parameter."""

    method: Method
    bytes: float


class SettingChoice(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a setting and how it is shown."""

    value: str | bool | int | tuple[str, ...] | None
    name: str
    details: str = ""
    """Description of the value; empty if its name is enough."""

    @property
    def label(self) -> str:
        """Return name and description."""
        return f"{self.name}: {self.details}" if self.details else self.name


class ObjectiveNote(Sourced, frozen=True, kw_only=True):
    """The source of a setting's default for one objective."""

    reason: str = ""
    """What the setting does there; empty if that is the same."""


class Setting(Sourced, frozen=True, kw_only=True):
    """One setting of the wizard; ``source`` is the source of its default."""

    name: str
    """Field name in its part of the plan."""
    part: Literal[
        "recipe", "recipe.dpo", "recipe.kto", "recipe.grpo", "where", "slurm", "samples", "data",
        "budget", "gate", "evaluate", "evaluate.judge", "finish",
        "hosted", "openai", "foundry", "together", "bedrock", "mantle", "vertex", "openai.wandb",
        "foundry.wandb", "together.wandb",
    ] = "recipe"  # fmt: skip
    label: str
    reason: str
    """What it does and why it has this value."""
    advanced: bool = False
    """Whether a first run can ignore it."""
    options: tuple[SettingChoice, ...] = ()
    """Empty if a number or names are typed."""
    low: float | None = None
    """Lower end of the usual range; other values are allowed."""
    high: float | None = None
    """Upper end of the usual range."""
    choices: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    """Name and, for some, description of its options by value."""
    empty: str = "auto"
    """Text shown for an optional setting without a value."""
    in_points: bool = False
    """Whether a share is typed and shown as points of 100."""
    typed: bool = False
    """Whether a value is typed, although some are named: several are allowed at once."""
    in_lines: bool = False
    """Whether the value is a text of several lines."""
    needs: dict[str, tuple[str | bool | int, ...]] = msgspec.field(default_factory=dict)
    """Values of other settings, by their name in a plan, without which it has no effect."""
    by_objective: dict[ObjectiveName, ObjectiveNote] = msgspec.field(default_factory=dict)
    """Objectives for which its reason or its source is another."""

    @property
    def path(self) -> str:
        """Return its name in a plan: ``recipe.dpo.beta``."""
        return f"{self.part}.{self.name}"

    @property
    def key(self) -> str:
        """Return its name among the settings of a page: ``epochs``, ``dpo.beta``, ``slurm.time``."""
        if self.part not in _KEYED_BY_PART:
            return self.name
        return f"{self.part.rpartition('.')[2]}.{self.name}"

    def applies(self, plan: Plan) -> bool:
        """Return whether it has an effect with a plan's other settings."""
        return all(operator.attrgetter(name)(plan) in values for name, values in self.needs.items())

    def explained_for(self, objective: ObjectiveName) -> Setting:
        """Return the setting with the reason and the source that it has for an objective."""
        if (note := self.by_objective.get(objective)) is None:
            return self
        return msgspec.structs.replace(
            self, reason=note.reason or self.reason, source=note.source, as_of=note.as_of
        )

    @property
    def default(self) -> Any:
        """Return the value in a plan that does not name it."""
        fields = {field.name: field for field in msgspec.structs.fields(PARTS[self.part])}
        return fields[self.name].default

    def option(self, value: str | bool | int | None) -> SettingChoice:
        """Return the choice of a value; raise StopIteration if there is none."""
        return next(choice for choice in self.options if choice.value == value)


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """The packaged file."""

    settings: tuple[Setting, ...]
    rates: tuple[LearningRateRule, ...]
    epochs: tuple[EpochsRule, ...]
    memory: tuple[MinimumMemory, ...]
    reasons: dict[str, RuleReason]


@functools.cache
def table() -> Table:
    """Return the packaged table; read once."""
    return load_asset("recipe_rules.toml", Table)


def memory(method: Method) -> MinimumMemory:
    """Return the minimum memory of a method."""
    return next(rule for rule in table().memory if rule.method == method)


def advise_value(
    name: str, key: str, value: str | float | bool | None, **words: object
) -> AdvisedValue:
    """Build advice from the reason under ``key``, with its placeholders filled in."""
    rule = table().reasons[key]
    return rule.advise(name, value, rule.reason.format(**words))


@functools.cache
def settings() -> tuple[Setting, ...]:
    """Return every setting of the plan in display order, basic ones first."""
    return tuple(
        msgspec.structs.replace(entry, options=tuple(_list_options(entry)))
        for entry in table().settings
        if entry.name in TYPES[entry.part]
    )


def setting(name: str) -> Setting:
    """Return a setting by its key; raise KeyError if it is unknown."""
    return {entry.key: entry for entry in settings()}[name]


def _list_options(setting: Setting) -> Iterator[SettingChoice]:
    """Derive the options from the field's type in the plan."""
    if setting.typed:
        return
    type_, labels = TYPES[setting.part][setting.name], setting.choices
    parts = typing.get_args(type_) if typing.get_origin(type_) is not Literal else (type_,)
    values: list[str | bool] = []
    for part in parts or (type_,):
        if typing.get_origin(part) is Literal:
            values += typing.get_args(part)
        elif part is bool:
            values += [True, False]
    default = (None,) if values and NoneType in parts else ()
    for value in (*default, *values):
        key = str(value).lower() if isinstance(value, bool) else value or "default"
        name, *details = labels.get(key, (key if value is not None else "auto",))
        yield SettingChoice(value=value, name=name, details="".join(details))
