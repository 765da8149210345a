"""Rules and reasons of ``assets/recipe_rules.toml``, and the advice built from them."""

from __future__ import annotations

import functools
import math
from typing import Literal

import msgspec

from ftwizard.catalog.sourced import Sourced, load_asset

Method = Literal["lora", "qlora", "full"]


class AdvisedValue(Sourced, frozen=True, kw_only=True):
    """A recommended value for one setting, with its reason."""

    name: str
    value: str | float | bool | None
    reason: str


class LearningRateRule(Sourced, frozen=True, kw_only=True):
    """A learning rate for methods and model sizes."""

    methods: tuple[Method, ...]
    up_to: float = math.inf
    """Largest number of parameters."""
    value: float
    reason: str


class EpochsRule(Sourced, frozen=True, kw_only=True):
    """Epochs for a minimum number of rows."""

    rows: int = msgspec.field(name="from")
    value: float
    reason: str


class Reason(Sourced, frozen=True, kw_only=True):
    """A reason, with placeholders."""

    reason: str


class MinimumMemory(Sourced, frozen=True, kw_only=True):
    """Minimum memory of a method, in bytes per parameter."""

    method: Method
    bytes: float


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """The file without its settings (see ``advice.setting``)."""

    rates: tuple[LearningRateRule, ...]
    epochs: tuple[EpochsRule, ...]
    memory: tuple[MinimumMemory, ...]
    reasons: dict[str, Reason]


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
    return AdvisedValue(
        name=name, value=value, reason=rule.reason.format(**words), as_of=rule.as_of,
        source=rule.source,
    )  # fmt: skip
