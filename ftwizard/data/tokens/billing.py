"""Billing rules of hosted platforms for training data, from assets/tokenizers.toml."""

from __future__ import annotations

import functools
import math
import tomllib
from importlib.resources import files
from typing import Literal

import msgspec

from ftwizard.data.format_names import TargetName
from ftwizard.data.platforms import Target
from ftwizard.data.tokens.stats import NO_TOKENS, TokenEstimate


class BillingRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a platform bills training."""

    targets: tuple[TargetName, ...]
    unit: Literal["tokens", "hours", "nothing"]
    validation: Literal["evaluations"] | None = None
    """``evaluations``: validation tokens are billed at each evaluation; None: never."""
    unpacked: bool = False
    """Whether each row is billed as the longest sequence if rows are not packed."""
    words: str
    sources: tuple[str, ...]
    as_of: str


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """Billed tokens, with the rule and its sources."""

    unit: Literal["tokens", "hours", "nothing"]
    tokens: TokenEstimate | None
    """None if tokens are not billed or their number is unknown."""
    words: str
    """The rule."""
    sources: tuple[str, ...]
    as_of: str


def compute_bill(
    target: Target,
    tokens: TokenEstimate,
    *,
    epochs: float,
    validation: TokenEstimate = NO_TOKENS,
    evaluations: int = 0,
    rows: int | None = None,
    unpacked_length: int | None = None,
) -> Bill:
    """Return the tokens billed for a job, over all epochs.

    ``tokens`` are those of the training file, ``validation`` those of the validation file, which is
    evaluated ``evaluations`` times. ``unpacked_length`` is the number of tokens of the longest
    sequence if the ``rows`` are not packed.
    """
    rule = _load_rules()[target.name]
    if rule.unpacked and unpacked_length is not None and rows is not None:
        padded = rows * unpacked_length
        tokens = TokenEstimate(value=padded, low=padded, high=padded)
    passes = evaluations if rule.validation == "evaluations" else 0
    billed = TokenEstimate(
        value=round(tokens.value * epochs) + validation.value * passes,
        low=math.floor(tokens.low * epochs) + validation.low * passes,
        high=math.ceil(tokens.high * epochs) + validation.high * passes,
    )
    return Bill(
        unit=rule.unit, tokens=billed if rule.unit == "tokens" else None, words=rule.words,
        sources=rule.sources, as_of=rule.as_of,
    )  # fmt: skip


@functools.cache
def _load_rules() -> dict[TargetName, BillingRule]:
    data = tomllib.loads(files("ftwizard").joinpath("assets", "tokenizers.toml").read_text("utf-8"))
    rules = msgspec.convert(data["billing"], tuple[BillingRule, ...])
    return {name: rule for rule in rules for name in rule.targets}
