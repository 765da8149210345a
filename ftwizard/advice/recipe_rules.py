"""Rules and reasons of ``assets/recipe.toml``, and the advice built from them."""

from __future__ import annotations

import functools
import math
from typing import Literal

import msgspec

from ftwizard.catalog.sourced import Sourced, asset

Method = Literal["lora", "qlora", "full"]


class Advised(Sourced, frozen=True, kw_only=True):
    """A recommended value for one setting, with its reason."""

    name: str
    value: str | float | bool | None
    reason: str


class Rate(Sourced, frozen=True, kw_only=True):
    """A learning rate for methods and model sizes."""

    methods: tuple[Method, ...]
    up_to: float = math.inf
    """Largest number of parameters."""
    value: float
    reason: str


class Epochs(Sourced, frozen=True, kw_only=True):
    """Epochs for a minimum number of rows."""

    rows: int = msgspec.field(name="from")
    value: float
    reason: str


class Said(Sourced, frozen=True, kw_only=True):
    """A reason, with placeholders."""

    reason: str


class Memory(Sourced, frozen=True, kw_only=True):
    """Minimum memory of a method, in bytes per parameter."""

    method: Method
    bytes: float


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """The file without its settings (see ``advice.setting``)."""

    rates: tuple[Rate, ...]
    epochs: tuple[Epochs, ...]
    memory: tuple[Memory, ...]
    said: dict[str, Said]


@functools.cache
def table() -> Table:
    """Return the packaged table; read once."""
    return asset("recipe.toml", Table)


def memory(method: Method) -> Memory:
    """Return the minimum memory of a method."""
    return next(rule for rule in table().memory if rule.method == method)


def said(name: str, key: str, value: str | float | bool | None, **words: object) -> Advised:
    """Build advice from the reason under ``key``, with its placeholders filled in."""
    rule = table().said[key]
    return Advised(
        name=name, value=value, reason=rule.reason.format(**words), as_of=rule.as_of,
        source=rule.source,
    )  # fmt: skip
