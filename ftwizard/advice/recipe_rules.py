"""Rules and reasons of ``assets/recipe_rules.toml``, and the advice built from them."""

from __future__ import annotations

import functools
import math

import msgspec

from ftwizard.catalog.sourced import Sourced, load_asset
from ftwizard.plan.schema import Method

SAFE = 0.95
"""Share of a GPU's memory that an estimate may use."""


class AdvisedValue(Sourced, frozen=True, kw_only=True):
    """A recommended value for one setting, with its reason."""

    name: str
    value: str | float | bool | None
    reason: str


class Reason(Sourced, frozen=True, kw_only=True):
    """A reason, with placeholders."""

    reason: str

    def advise(self, name: str, value: str | float | bool | None, reason: str) -> AdvisedValue:
        """Build advice with this source, and ``reason`` instead of the one with placeholders."""
        return AdvisedValue(
            name=name, value=value, reason=reason, as_of=self.as_of, source=self.source
        )


class LearningRateRule(Reason, frozen=True, kw_only=True):
    """A learning rate for methods and model sizes."""

    methods: tuple[Method, ...]
    up_to: float = math.inf
    """Largest number of parameters."""
    value: float


class EpochsRule(Reason, frozen=True, kw_only=True):
    """Epochs for a minimum number of rows."""

    rows: int = msgspec.field(name="from")
    value: float


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
    return rule.advise(name, value, rule.reason.format(**words))
