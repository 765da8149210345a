"""Models that cannot be trained, and rows too long for a model, by its configuration.

Position tables are a hard limit of the context, rotary embeddings are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ftwizard.catalog import model_configs
from ftwizard.errors import FtwizardError
from ftwizard.text import make_visible

_QUANTIZED = "quantization_config"
_ENCODERS = frozenset((
    "bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie",
    "megatron-bert", "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "xlm-roberta",
    "xlm-roberta-xl", "xmod",
))  # fmt: skip
"""Architectures with a causal head in transformers 5.24 that are encoders unless ``is_decoder``.
transformers itself refuses those without such a head (T5, DistilBERT, ModernBERT)."""
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


def check_config(config: Mapping[str, Any], name: str, longest: int) -> FtwizardError | None:
    """Return why a model with ``config`` (a config.json) cannot be trained; None if it can.

    ``name`` is the model's name in the message, ``longest`` the tokens of the longest row.
    """
    return (
        check_quantized(config, name)
        or check_encoder(config, name)
        or check_context(config, longest, name)
    )


def check_quantized(config: Mapping[str, Any], name: str) -> FtwizardError | None:
    """Return an error if the model's weights are quantized, else None.

    Merging an adapter into 4-bit weights fails silently.
    """
    if not config.get(_QUANTIZED):
        return None
    original = _find_original(name)
    return FtwizardError(
        f"{make_visible(name, 200)} is quantized. Adapters need 16-bit weights, for training and for "
        "merging.",
        f"Use the original 16-bit model{f': {original}' if original else ''}.",
    )


def check_encoder(config: Mapping[str, Any], name: str) -> FtwizardError | None:
    """Return an error if the model is an encoder, whose tokens see those that follow, else None.

    transformers loads it as a causal language model anyway, and only logs a warning.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in _ENCODERS or config.get("is_decoder"):
        return None
    return FtwizardError(
        f"{make_visible(name, 200)} is an encoder ({kind}), which cannot generate text.",
        "Choose a causal language model, such as Qwen/Qwen3-0.6B.",
    )


class ContextLength(NamedTuple):
    """The context length in a model's configuration."""

    max_tokens: int
    is_hard_limit: bool
    """Whether a longer row is an error; otherwise it only exceeds what the model was made for."""


def read_context_length(config: Mapping[str, Any]) -> ContextLength | None:
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


def check_context(config: Mapping[str, Any], tokens: int, name: str) -> FtwizardError | None:
    """Return an error if a row of ``tokens`` exceeds the model's hard limit, else None."""
    limit = _find_exceeded(config, tokens, is_hard_limit=True)
    if limit is None:
        return None
    return FtwizardError(
        f"A row has {tokens:,} tokens, but the context of {make_visible(name, 200)} is {limit:,} tokens.",
        f"Set recipe.max_length to {limit} or less, or choose a model with a longer context.",
    )


def warn_context(config: Mapping[str, Any], tokens: int) -> str | None:
    """Return a warning if a row of ``tokens`` exceeds the model's context length, else None."""
    limit = _find_exceeded(config, tokens, is_hard_limit=False)
    if limit is None:
        return None
    return (
        f"The longest rows have {tokens:,} tokens; the model was made for {limit:,} and may learn "
        f"little beyond. recipe.max_length {limit} truncates them there."
    )


def _find_exceeded(config: Mapping[str, Any], tokens: int, *, is_hard_limit: bool) -> int | None:
    limit = read_context_length(config)
    if limit is None or limit.is_hard_limit != is_hard_limit or tokens <= limit.max_tokens:
        return None
    return limit.max_tokens


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
    return value if type(value) is int and value > 0 else None


def _find_original(name: str) -> str | None:
    """Return the catalog's unquantized model with an otherwise equal configuration."""
    return model_configs.find_equal(name, without=_QUANTIZED)
