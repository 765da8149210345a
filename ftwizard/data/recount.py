"""The tokens of a file for several tokenizers at once, from rows all over it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from ftwizard.data import formats, ranges, strict_json
from ftwizard.data.container import Container
from ftwizard.data.conversation import RowProblem
from ftwizard.data.encodings import Encoding
from ftwizard.data.format_names import Format
from ftwizard.data.targets import Target
from ftwizard.data.tokens import Estimate, Tally

BLOCKS = 64
"""Of 64 KB: half a second for five tokenizers."""
SPREAD = 0.03
"""By how much the ratio of two tokenizers may be off where not all rows are read."""
Way = tuple[Target, Encoding]
"""Whose rows, and how their tokens are counted."""


def recount(
    path: Path, container: Container, format: Format, counted: Way, total: int,
    others: Mapping[str, Way], *, blocks: int = BLOCKS,
) -> dict[str, Estimate]:  # fmt: skip
    """Return the tokens of a file as others count them, which are ``total`` as ``counted`` does.

    The ratio to the other count is taken over rows from all over the file, all rows of a small
    one. Empty where none of them can be read. Raises FileProblem.
    """
    ways = {_key(way): way for way in (counted, *others.values())}
    tallies = {key: Tally(*way) for key, way in ways.items()}
    for sampled in ranges.sample(path, container, blocks=blocks):
        value = sampled.value
        try:
            if isinstance(value, bytes):
                value = strict_json.decode(value)
            if isinstance(value, RowProblem):
                continue
            example = formats.example(value, format)
        except RowProblem:
            continue
        for tally in tallies.values():
            tally.add(sampled.line or 0, example)
    seen = tallies[_key(counted)].counts().tokens.total
    if not seen:
        return {}
    found = {key: _scaled(tally, total / seen) for key, tally in tallies.items()}
    return {name: found[_key(way)] for name, way in others.items()}


def _scaled(tally: Tally, scale: float) -> Estimate:
    tokens = tally.counts().tokens
    off = SPREAD if scale > 1 else 0.0
    return Estimate(
        value=round(tokens.total * scale),
        low=math.floor(tokens.low * scale * (1 - off)),
        high=math.ceil(tokens.high * scale * (1 + off)),
    )


def _key(way: Way) -> tuple[str, str, bool]:
    target, encoding = way
    return target.name, encoding.name, encoding.own
