"""Token estimates of a file for several tokenizers, from one sample."""

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
from ftwizard.data.tokens import Estimate, TokenCounter

BLOCKS = 64
"""Sampled blocks of 64 KB; takes 0.5 s for five tokenizers."""
RATIO_ERROR = 0.03
"""Relative error of the ratio of two tokenizers if not all rows are read."""
Way = tuple[Target, Encoding]
"""A target and the encoding that counts its tokens."""


def recount(
    path: Path, container: Container, format: Format, counted: Way, total: int,
    others: Mapping[str, Way], *, blocks: int = BLOCKS,
) -> dict[str, Estimate]:  # fmt: skip
    """Estimate the tokens of a file in ``others``, given ``total`` tokens in ``counted``.

    The ratios are measured on sampled rows, or on all rows of a small file. Returns an empty dict if
    no row is readable. Raises FileProblem.
    """
    pairs = {_get_key(pair): pair for pair in (counted, *others.values())}
    tallies = {key: TokenCounter(*pair) for key, pair in pairs.items()}
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
    sampled_total = tallies[_get_key(counted)].counts().tokens.total
    if not sampled_total:
        return {}
    estimates = {key: _scale(tally, total / sampled_total) for key, tally in tallies.items()}
    return {name: estimates[_get_key(pair)] for name, pair in others.items()}


def _scale(tally: TokenCounter, scale: float) -> Estimate:
    tokens = tally.counts().tokens
    error = RATIO_ERROR if scale > 1 else 0.0
    return Estimate(
        value=round(tokens.total * scale),
        low=math.floor(tokens.low * scale * (1 - error)),
        high=math.ceil(tokens.high * scale * (1 + error)),
    )


def _get_key(pair: Way) -> tuple[str, str, bool]:
    target, encoding = pair
    return target.name, encoding.name, encoding.own
