"""What a place that trains bills of a file: its rule of assets/tokens.toml."""

from __future__ import annotations

import functools
import math
import tomllib
from importlib.resources import files
from typing import Literal

import msgspec

from ftwizard.data.target_names import TargetName
from ftwizard.data.targets import Target
from ftwizard.data.tokens import Estimate


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is counted."""

    targets: tuple[TargetName, ...]
    unit: Literal["tokens", "hours", "nothing"]
    validation: Literal["evaluations"] | None = None
    """How often tokens of the validation file are billed; None: never."""
    unpacked: bool = False
    """Without packing each row counts as the longest sequence."""
    words: str
    sources: tuple[str, ...]
    as_of: str


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """What is billed."""

    unit: Literal["tokens", "hours", "nothing"]
    tokens: Estimate | None
    """None where none are billed, or it is not known how many."""
    words: str
    """The rule."""
    sources: tuple[str, ...]
    as_of: str


_NOTHING = Estimate(value=0, low=0, high=0)


def billed(
    target: Target,
    tokens: Estimate,
    *,
    epochs: float,
    validation: Estimate = _NOTHING,
    evaluations: int = 0,
    rows: int | None = None,
    unpacked_length: int | None = None,
) -> Bill:
    """Return the tokens that a job is billed by, all epochs.

    ``tokens`` are those of the training file, ``validation`` of the validation file, which is
    looked at ``evaluations`` times. ``unpacked_length``: tokens of the longest sequence, where rows
    (``rows`` of them) are not packed.
    """
    rule = _rules()[target.name]
    if rule.unit != "tokens":
        return _bill(rule, None)
    if rule.unpacked and unpacked_length is not None and rows is not None:
        whole = rows * unpacked_length
        tokens = Estimate(value=whole, low=whole, high=whole)
    looks = evaluations if rule.validation == "evaluations" else 0
    return _bill(
        rule,
        Estimate(
            value=round(tokens.value * epochs) + validation.value * looks,
            low=math.floor(tokens.low * epochs) + validation.low * looks,
            high=math.ceil(tokens.high * epochs) + validation.high * looks,
        ),
    )


def _bill(rule: Rule, tokens: Estimate | None) -> Bill:
    return Bill(
        unit=rule.unit, tokens=tokens, words=rule.words, sources=rule.sources, as_of=rule.as_of
    )


@functools.cache
def _rules() -> dict[TargetName, Rule]:
    data = tomllib.loads(files("ftwizard").joinpath("assets", "tokens.toml").read_text("utf-8"))
    rules = msgspec.convert(data["billing"], tuple[Rule, ...])
    return {name: rule for rule in rules for name in rule.targets}
