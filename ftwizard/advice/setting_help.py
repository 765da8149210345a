"""Plan settings as shown to the user: label, choices and reason."""

from __future__ import annotations

import functools
import typing
from collections.abc import Iterator
from types import NoneType
from typing import Any, Literal

import msgspec

from ftwizard.catalog.sourced import Sourced, load_asset
from ftwizard.plan.schema import Recipe, Samples

PARTS = {"recipe": Recipe, "samples": Samples}
"""Parts of a plan with settings."""
TYPES = {part: typing.get_type_hints(kind) for part, kind in PARTS.items()}
"""Types of their fields."""


class SettingChoice(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a setting and how it is shown."""

    value: str | bool | None
    name: str
    details: str = ""
    """Description of the value; empty if its name is enough."""

    @property
    def label(self) -> str:
        """Return name and description."""
        return f"{self.name}: {self.details}" if self.details else self.name


class Setting(Sourced, frozen=True, kw_only=True):
    """One setting of the wizard; ``source`` is the source of its default."""

    name: str
    """Field name in its part of the plan."""
    part: Literal["recipe", "samples"] = "recipe"
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
    empty: str = "automatic"
    """Text shown for an optional setting without a value."""

    def option(self, value: str | bool | None) -> SettingChoice:
        """Return the choice of a value; raise StopIteration if there is none."""
        return next(choice for choice in self.options if choice.value == value)


class _Table(msgspec.Struct, frozen=True, kw_only=True):
    settings: tuple[Setting, ...]


@functools.cache
def settings() -> tuple[Setting, ...]:
    """Return every setting of the plan in display order, basic ones first."""
    return tuple(
        msgspec.structs.replace(
            entry, options=tuple(_options(TYPES[entry.part][entry.name], entry.choices))
        )
        for entry in load_asset("recipe_rules.toml", _Table).settings
        if entry.name in TYPES[entry.part]
    )


def setting(name: str) -> Setting:
    """Return a setting by name; raise KeyError if it is unknown."""
    return {entry.name: entry for entry in settings()}[name]


def _options(type_: Any, labels: dict[str, tuple[str, ...]]) -> Iterator[SettingChoice]:
    """Derive the options from the field's type in the plan."""
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
        name, *details = labels.get(key, (key if value is not None else "Automatic",))
        yield SettingChoice(value=value, name=name, details="".join(details))
