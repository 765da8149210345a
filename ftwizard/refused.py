"""What training refuses of a model by its configuration alone, and what to do instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftwizard import positions
from ftwizard.catalog import configs
from ftwizard.errors import FtwizardError
from ftwizard.text import visible

_QUANTISED = "quantization_config"
_ENCODERS = frozenset((
    "bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie",
    "megatron-bert", "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "xlm-roberta",
    "xlm-roberta-xl", "xmod",
))  # fmt: skip
"""Architectures with a causal head in transformers 5.24 that are encoders unless ``is_decoder``.
Those without such a head (T5, DistilBERT, ModernBERT) it refuses itself."""


def of_config(config: Mapping[str, Any], name: str, longest: int) -> FtwizardError | None:
    """Return why a model of ``config``, its config.json, cannot be trained; None where it can.

    ``name``: what it is called in the sentence; ``longest``: tokens of the longest row.
    """
    return (
        quantised(config, name) or encoder(config, name) or positions.refusal(config, longest, name)
    )


def quantised(config: Mapping[str, Any], name: str) -> FtwizardError | None:
    """Return the error of a model whose weights are quantised; None for others.

    An adapter cannot be merged into 4-bit weights: it goes wrong, and in silence.
    """
    if not config.get(_QUANTISED):
        return None
    plain = _plain(name)
    return FtwizardError(
        f"{visible(name, 200)} is quantised; an adapter is trained on and merged into 16-bit "
        "weights only.",
        f"Name the original 16-bit model{f': {plain}' if plain else ''}.",
    )


def encoder(config: Mapping[str, Any], name: str) -> FtwizardError | None:
    """Return the error of a model whose tokens see those that follow; None for others.

    transformers makes a causal language model of it all the same, and only logs a warning.
    """
    if config.get("model_type") not in _ENCODERS or config.get("is_decoder"):
        return None
    return FtwizardError(
        f"{visible(name, 200)} is an encoder ({config['model_type']}): it sees the answer that it is "
        "to learn to write, and writes none.",
        "Choose a causal language model, such as Qwen/Qwen3-0.6B.",
    )


def _plain(name: str) -> str | None:
    """Return the known model that differs from a known one by nothing but that it is not quantised."""
    known = configs.known(name)
    if known is None:
        return None
    same = {key: value for key, value in known.config.items() if key != _QUANTISED}
    return next((one.ids[0] for one in configs.configs() if one.config == same), None)
