"""Rows over the context length: an error for position tables, a warning otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.models import support
from ftwizard.plan.schema import Recipe
from ftwizard.screens.draft import live_estimate
from ftwizard.train import dataset
from ftwizard.train.encoder import EncodedRow

SMALL: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16},
    "gptj": {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16, "rotary_dim": 4},
    "opt": {
        "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 8,
        "word_embed_proj_dim": 8, "max_position_embeddings": 16,
    },
    "bert": {
        "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
        "max_position_embeddings": 16, "is_decoder": True,
    },
    "llama": {
        "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
        "max_position_embeddings": 16,
    },
}  # fmt: skip
SMALL["roberta"] = SMALL["bert"] | {"max_position_embeddings": 18}  # its positions start at 2


@pytest.mark.parametrize("kind", SMALL)
def test_context_length_matches_the_transformers_model(kind: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    config: Any = AutoConfig.for_model(kind, vocab_size=60_000, **SMALL[kind])
    model = auto.from_config(config, trust_remote_code=False)
    length = support.read_context_length(config.to_dict())
    assert length == (16, kind != "llama")
    with torch.no_grad():
        model(input_ids=torch.full((1, 16), 5))
        if length.is_hard_limit:
            with pytest.raises((IndexError, RuntimeError)):
                model(input_ids=torch.full((1, 17), 5))
        else:
            model(input_ids=torch.full((1, 17), 5))


def encoded(tokens: int) -> dict[str, list[EncodedRow]]:
    """Return a training row of 3 tokens and a validation row of ``tokens`` tokens."""
    return {
        name: [EncodedRow(line=1, input_ids=[5] * n, labels=[5] * n)]
        for name, n in (("train", 3), ("validation", tokens))
    }


def test_rows_over_the_context_length_raise_or_warn(tmp_path: Path) -> None:
    for kind in ("gpt2", "llama"):
        (tmp_path / kind).mkdir()
        config = {"model_type": kind, **SMALL[kind]}
        (tmp_path / kind / "config.json").write_text(json.dumps(config))
        assert dataset.check_lengths(tmp_path / kind, encoded(16), Recipe()) is None
    with pytest.raises(FtwizardError, match=r"17 tokens, .* is 16 tokens") as error:
        dataset.check_lengths(tmp_path / "gpt2", encoded(17), Recipe())
    assert "recipe.max_length to 16" in error.value.hint
    warned = dataset.check_lengths(tmp_path / "llama", encoded(17), Recipe())
    assert warned is not None and "made for 16" in warned
    assert live_estimate.load_context_length(str(tmp_path / "gpt2")) == 16


def test_yarn_scaling_extends_the_context_length() -> None:
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768}
    config = {"model_type": "qwen2", "max_position_embeddings": 32_768, "rope_scaling": yarn}
    assert support.read_context_length(config) == (131_072, False)
    config["max_position_embeddings"] = 131_072  # already scaled, as in Llama 3.1
    assert support.read_context_length(config) == (131_072, False)


@pytest.mark.parametrize("value", [None, 0, -1, True, "many", 2.5])
def test_invalid_position_counts_give_no_context_length(value: object) -> None:
    config = {"model_type": "gpt2", "n_positions": value}
    assert (
        support.read_context_length(config) is None
        and support.check_context(config, 10**6, "m") is None
    )
