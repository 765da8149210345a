"""The settings of a plan as a person sees them: plain words, what can be chosen, why."""

from __future__ import annotations

import functools
import typing
from collections.abc import Iterator
from types import NoneType
from typing import Any, Literal

import msgspec

from ftwizard.catalog.sourced import Sourced, asset
from ftwizard.plan import Recipe, Samples

PARTS = {"recipe": Recipe, "samples": Samples}
"""The parts of a plan that have settings."""
TYPES = {part: typing.get_type_hints(kind) for part, kind in PARTS.items()}
"""Of their fields."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a setting, and its name on screen."""

    value: str | bool | None
    label: str


class Setting(Sourced, frozen=True, kw_only=True):
    """One setting as the wizard shows it; ``source`` is that of its default."""

    name: str
    """The field of its part."""
    part: Literal["recipe", "samples"] = "recipe"
    """Of the plan."""
    label: str
    reason: str
    """What it does and why this value, in a sentence or two."""
    advanced: bool = False
    """Whether a first run can do without looking at it."""
    options: tuple[Choice, ...] = ()
    """What can be chosen; empty where a number or names are typed."""
    low: float | None = None
    """Where the usual range begins; values beyond it are allowed."""
    high: float | None = None
    """Where the usual range ends."""
    empty: str = "automatic"
    """What stands for no value, where there may be none: by default the run decides."""

    def option(self, value: str | bool | None) -> Choice:
        """Return the choice of a value; raise StopIteration where there is none."""
        return next(one for one in self.options if one.value == value)


class _Setting(Setting, frozen=True, kw_only=True):
    choices: dict[str, str] = msgspec.field(default_factory=dict)


class _Table(msgspec.Struct, frozen=True, kw_only=True):
    settings: tuple[_Setting, ...]


@functools.cache
def settings() -> tuple[Setting, ...]:
    """Return every setting that the plan has, plain ones first, in the order to show them."""
    return tuple(
        _setting(one, TYPES[one.part][one.name])
        for one in asset("recipe.toml", _Table).settings
        if one.name in TYPES[one.part]
    )


def setting(name: str) -> Setting:
    """Return a setting by its name; raise KeyError for an unknown one."""
    return {one.name: one for one in settings()}[name]


def _setting(one: _Setting, type_: Any) -> Setting:
    """Take the options from the plan's own type: what it accepts is what can be chosen."""
    fields = {name: getattr(one, name) for name in Setting.__struct_fields__}
    return Setting(**{**fields, "options": tuple(_options(type_, one.choices))})


def _options(type_: Any, labels: dict[str, str]) -> Iterator[Choice]:
    parts = typing.get_args(type_) if typing.get_origin(type_) is not Literal else (type_,)
    values: list[str | bool] = []
    for part in parts or (type_,):
        if typing.get_origin(part) is Literal:
            values += typing.get_args(part)
        elif part is bool:
            values += [True, False]
    if values and NoneType in parts:
        yield Choice(value=None, label=labels.get("default", "Automatic"))
    for value in values:
        key = str(value).lower() if isinstance(value, bool) else value
        yield Choice(value=value, label=labels.get(key, key))
