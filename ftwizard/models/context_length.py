"""Context lengths by model: position tables are a hard limit, rotary embeddings are not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ftwizard.errors import FtwizardError
from ftwizard.text import make_visible

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
"""Config key of the architectures with a position table, where a longer row is an index error.

Source: small models of these classes, run one token past the end with transformers 5.24.
"""
_AFTER_PADDING = frozenset((
    "camembert", "data2vec-text", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl",
    "xmod",
))  # fmt: skip
"""Architectures whose position table starts after the padding token's ID."""


class ContextLength(NamedTuple):
    """The context length in a model's configuration."""

    max_tokens: int
    is_hard_limit: bool
    """Whether a longer row is an error; otherwise it only exceeds what the model was made for."""


def from_config(config: Mapping[str, Any]) -> ContextLength | None:
    """Return the context length in ``config`` (a config.json); None if it has none."""
    text = config.get("text_config")
    if isinstance(text, Mapping):
        config = text
    kind = config.get("model_type")
    if not isinstance(kind, str):
        kind = ""
    positions = _positive(config.get(_TABLES.get(kind, "max_position_embeddings")))
    if not positions:
        return None
    if kind in _AFTER_PADDING:
        padding = _positive(config.get("pad_token_id", 1)) or 0
        return ContextLength(max(1, positions - 1 - padding), True)
    if kind in _TABLES:
        return ContextLength(positions, True)
    return ContextLength(_scale_rope(config, positions), False)


def refusal(config: Mapping[str, Any], tokens: int, name: str) -> FtwizardError | None:
    """Return an error if a row of ``tokens`` exceeds the model's hard limit, else None.

    ``name`` is the model's name in the message.
    """
    limit = from_config(config)
    if limit is None or not limit.is_hard_limit or tokens <= limit.max_tokens:
        return None
    return FtwizardError(
        f"A row has {tokens:,} tokens, but the context of {make_visible(name, 200)} is {limit.max_tokens:,} tokens.",
        f"Set recipe.max_length to {limit.max_tokens} or less, or choose a model with a longer context.",
    )


def warning(config: Mapping[str, Any], tokens: int) -> str | None:
    """Return a warning if a row of ``tokens`` exceeds the model's context length, else None."""
    limit = from_config(config)
    if limit is None or limit.is_hard_limit or tokens <= limit.max_tokens:
        return None
    return (
        f"The longest rows have {tokens:,} tokens; the model was made for {limit.max_tokens:,} and "
        f"may learn little beyond. recipe.max_length {limit.max_tokens} truncates them there."
    )


def _scale_rope(config: Mapping[str, Any], positions: int) -> int:
    """Return the positions with RoPE scaling, unless ``positions`` includes it already."""
    for key in ("rope_scaling", "rope_parameters"):
        scaling = config.get(key)
        if not isinstance(scaling, Mapping):
            continue
        factor = scaling.get("factor")
        original = scaling.get("original_max_position_embeddings", positions)
        if isinstance(factor, int | float) and 1 < factor < 1e4 and original == positions:
            return round(positions * factor)
    return positions


def _positive(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return value if is_count and isinstance(value, int) and value > 0 else None
