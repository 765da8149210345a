"""How many tokens of a row a model can read: a table of positions ends, a rotation goes on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ftwizard.errors import FtwizardError
from ftwizard.estimate.batches import Lengths
from ftwizard.text import visible

_TABLES = {
    **dict.fromkeys(("codegen", "ctrl", "gpt2", "gpt_bigcode", "gptj", "openai-gpt"), "n_positions"),
    **dict.fromkeys(
        (
            "bart", "bert", "bert-generation", "big_bird", "bigbird_pegasus", "biogpt", "blenderbot",
            "blenderbot-small", "electra", "ernie", "git", "gpt_neo", "marian", "mbart",
            "megatron-bert", "mvp", "opt", "pegasus", "plbart", "rembert", "roformer", "trocr", "xlm",
        ),
        "max_position_embeddings",
    ),
    "whisper": "max_target_positions",
}  # fmt: skip
"""Where an architecture keeps one row a position, learnt or not, and nothing beyond the last.

Source: small models of these classes of transformers 5.24, given one token more: an index error.
"""
_AFTER_PADDING = frozenset((
    "camembert", "data2vec-text", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl",
    "xmod",
))  # fmt: skip
"""Such tables whose positions are counted from behind the padding token's id."""


class Positions(NamedTuple):
    """What a model's configuration says of the length of a row."""

    most: int
    """Tokens."""
    fixed: bool
    """Whether a longer row is an error; else the model was only not made for it."""


def of(config: Mapping[str, Any]) -> Positions | None:
    """Return the positions of a model of ``config``, its config.json; None where it does not say."""
    text = config.get("text_config")
    if isinstance(text, Mapping):
        config = text
    kind = config.get("model_type")
    if not isinstance(kind, str):
        kind = ""
    most = _count(config.get(_TABLES.get(kind, "max_position_embeddings")))
    if not most:
        return None
    if kind in _AFTER_PADDING:
        return Positions(max(1, most - 1 - (_count(config.get("pad_token_id", 1)) or 0)), True)
    return Positions(most if kind in _TABLES else _stretched(config, most), kind in _TABLES)


def longest(lengths: Lengths | None, max_length: int) -> int:
    """Return the tokens of the longest rows, cut to ``max_length``; 0 where nothing is known of them.

    Of a histogram it is the mean of its last part, which some row surely has.
    """
    if lengths is None or not lengths.buckets:
        return 0
    return min(max_length, math.ceil(lengths.buckets[-1].length))


def refusal(config: Mapping[str, Any], tokens: int, name: str) -> FtwizardError | None:
    """Return the error of a row of so many ``tokens``; None where the model can read it.

    ``name``: of the model, as it is said.
    """
    found = of(config)
    if found is None or not found.fixed or tokens <= found.most:
        return None
    return FtwizardError(
        f"A row has {tokens:,} tokens, and {visible(name, 200)} has a table of {found.most:,} "
        "positions: it cannot read a longer row.",
        f"Set recipe.max_length to {found.most} or less, or choose a model that reads more.",
    )


def warning(config: Mapping[str, Any], tokens: int) -> str | None:
    """Say that a row of so many ``tokens`` is longer than the model was made for; None if not."""
    found = of(config)
    if found is None or found.fixed or tokens <= found.most:
        return None
    return (
        f"The longest rows have {tokens:,} tokens, and the model was made for {found.most:,}: beyond "
        f"that it may learn little. recipe.max_length {found.most} cuts them there."
    )


def _stretched(config: Mapping[str, Any], most: int) -> int:
    """Return the positions with a rotation that is stretched, unless they are counted so already."""
    for key in ("rope_scaling", "rope_parameters"):
        scaling = config.get(key)
        if not isinstance(scaling, Mapping):
            continue
        factor, first = scaling.get("factor"), scaling.get("original_max_position_embeddings", most)
        if isinstance(factor, int | float) and 1 < factor < 1e4 and first == most:
            return round(most * factor)
    return most


def _count(value: object) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and isinstance(value, int) and value > 0 else None
