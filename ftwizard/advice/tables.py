"""What ``assets/recipe.toml`` says of values, and the form that advice has."""

from __future__ import annotations

import functools
import math
from typing import Literal

import msgspec

from ftwizard.catalog.sourced import Sourced, asset

Method = Literal["lora", "qlora", "full"]


class Advised(Sourced, frozen=True, kw_only=True):
    """A value for one setting, and why."""

    name: str
    value: str | float | bool | None
    reason: str


class Rate(Sourced, frozen=True, kw_only=True):
    """A learning rate for methods and sizes."""

    methods: tuple[Method, ...]
    up_to: float = math.inf
    """Parameters of the model."""
    value: float
    reason: str


class Epochs(Sourced, frozen=True, kw_only=True):
    """Passes over so many rows and more."""

    rows: int = msgspec.field(name="from")
    value: float
    reason: str


class Said(Sourced, frozen=True, kw_only=True):
    """A reason."""

    reason: str


class Memory(Sourced, frozen=True, kw_only=True):
    """The least memory of a method, bytes a parameter."""

    method: Method
    bytes: float


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """The file, settings apart (``advice.setting``)."""

    rates: tuple[Rate, ...]
    epochs: tuple[Epochs, ...]
    memory: tuple[Memory, ...]
    said: dict[str, Said]


@functools.cache
def table() -> Table:
    """Return what the file says."""
    return asset("recipe.toml", Table)


def memory(method: Method) -> Memory:
    """Return the least memory of a method."""
    return next(one for one in table().memory if one.method == method)


def said(name: str, key: str, value: str | float | bool | None, **words: object) -> Advised:
    """Return a value with the reason that the file has under ``key``, its words filled in."""
    one = table().said[key]
    return Advised(
        name=name, value=value, reason=one.reason.format(**words), as_of=one.as_of,
        source=one.source,
    )  # fmt: skip
