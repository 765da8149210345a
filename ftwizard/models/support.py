"""Models that cannot be trained, recognized from their configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftwizard.catalog import model_configs
from ftwizard.errors import FtwizardError
from ftwizard.models import context_length
from ftwizard.text import make_visible

_QUANTIZED = "quantization_config"
_ENCODERS = frozenset((
    "bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie",
    "megatron-bert", "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "xlm-roberta",
    "xlm-roberta-xl", "xmod",
))  # fmt: skip
"""Architectures with a causal head in transformers 5.24 that are encoders unless ``is_decoder``.
transformers itself refuses those without such a head (T5, DistilBERT, ModernBERT)."""


def check_config(config: Mapping[str, Any], name: str, longest: int) -> FtwizardError | None:
    """Return why a model with ``config`` (a config.json) cannot be trained; None if it can.

    ``name`` is the model's name in the message, ``longest`` the tokens of the longest row.
    """
    return (
        check_quantized(config, name)
        or check_encoder(config, name)
        or context_length.refusal(config, longest, name)
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
    if config.get("model_type") not in _ENCODERS or config.get("is_decoder"):
        return None
    return FtwizardError(
        f"{make_visible(name, 200)} is an encoder ({config['model_type']}), which cannot generate text.",
        "Choose a causal language model, such as Qwen/Qwen3-0.6B.",
    )


def _find_original(name: str) -> str | None:
    """Return the catalog's unquantized model with an otherwise equal configuration."""
    entry = model_configs.find_config(name)
    if entry is None:
        return None
    same = {key: value for key, value in entry.config.items() if key != _QUANTIZED}
    return next((model.ids[0] for model in model_configs.configs() if model.config == same), None)
