"""Model shapes: parameter counts that match transformers, and errors for bad configurations."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.errors import FtwizardError
from ftwizard.models.architectures import build_shape, list_supported
from ftwizard.models.shapes import ModelShape

SMALL: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 128, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0,
}  # fmt: skip
ROUTED: dict[str, Any] = {"num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}
VISION: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 14,
}  # fmt: skip
LLAMA_8B: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "vocab_size": 128256, "tie_word_embeddings": False,
}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", **SMALL},
    "llama with biases": {
        "model_type": "llama", **SMALL, "attention_bias": True, "mlp_bias": True,
        "tie_word_embeddings": True,
    },
    "mistral": {"model_type": "mistral", **SMALL},
    "qwen2": {"model_type": "qwen2", **SMALL},
    "qwen3": {"model_type": "qwen3", **SMALL},
    "qwen3_moe": {"model_type": "qwen3_moe", **SMALL, **ROUTED, "num_experts": 4},
    "qwen3_moe, one dense": {
        "model_type": "qwen3_moe", **SMALL, **ROUTED, "num_experts": 4, "mlp_only_layers": [0],
    },
    "gemma": {"model_type": "gemma", **SMALL},
    "gemma2": {"model_type": "gemma2", **SMALL},
    "gemma3_text": {"model_type": "gemma3_text", **SMALL},
    "gemma3": {
        "model_type": "gemma3", "vision_config": {**VISION, "vision_use_head": False},
        "text_config": {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 96},
    },
    "gemma3 that pools": {
        "model_type": "gemma3", "vision_config": VISION,
        "text_config": {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 96},
    },
    "gpt_oss": {"model_type": "gpt_oss", **SMALL, "num_local_experts": 8},
    "llama4": {
        "model_type": "llama4",
        "text_config": {"model_type": "llama4_text", **SMALL, "num_local_experts": 2},
    },
    "llama4_text, every other": {
        "model_type": "llama4_text", **SMALL, "num_local_experts": 2, "intermediate_size_mlp": 40,
        "interleave_moe_layer_step": 2,
    },
    "smollm3": {"model_type": "smollm3", **SMALL},
    "phi3": {"model_type": "phi3", **SMALL},
    "gpt2": {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 128},
    "Llama 3.1 8B": LLAMA_8B,
    "gpt-oss-20B": {
        "model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880,
        "num_hidden_layers": 24, "num_attention_heads": 64, "num_key_value_heads": 8,
        "vocab_size": 201088, "num_local_experts": 32, "num_experts_per_tok": 4,
    },
}  # fmt: skip


def _model(config: dict[str, Any]) -> Any:
    """Return the transformers model for a configuration, without weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    read: Any = AutoConfig
    build: Any = AutoModelForCausalLM
    with torch.device("meta"):
        return build.from_config(read.for_model(**config))


def _count_linears(shape: ModelShape) -> dict[tuple[str, int, int], int]:
    return {
        (linear.name, linear.inputs, linear.outputs): linear.count
        for linear in shape.linears
        if not linear.fused
    }


@pytest.mark.parametrize("name", CONFIGS)
def test_counts_match_the_transformers_modules(name: str) -> None:
    import torch
    from transformers.pytorch_utils import Conv1D

    model, shape = _model(CONFIGS[name]), build_shape(CONFIGS[name], name)
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    counts: dict[tuple[str, int, int], int] = {}
    for path, module in model.get_decoder().named_modules():
        if isinstance(module, Conv1D):
            key = (path.rpartition(".")[2], module.nx, module.nf)
        elif isinstance(module, torch.nn.Linear) and path.rpartition(".")[2] not in (
            "router",
            "lm_head",
        ):
            key = (path.rpartition(".")[2], module.in_features, module.out_features)
        else:
            continue
        counts[key] = counts.get(key, 0) + 1
    assert _count_linears(shape) == counts


def test_active_parameters_count_only_routed_experts() -> None:
    shape = build_shape(CONFIGS["gpt-oss-20B"], "gpt-oss-20B")
    assert shape.active / 1e9 == pytest.approx(3.6 + 0.579, rel=0.01)
    """The model card says 3.6 billion active parameters, without the 0.579 billion embeddings."""
    assert shape.parameters / 1e9 == pytest.approx(20.9, rel=0.01)
    assert build_shape(LLAMA_8B, "x").active == build_shape(LLAMA_8B, "x").parameters


def test_adapter_size_depends_on_the_target_modules() -> None:
    assert build_shape(LLAMA_8B, "x").adapter(16) == 41_943_040
    assert build_shape(LLAMA_8B, "x").adapter(16, ("q_proj", "v_proj")) == 6_815_744


def test_unknown_architecture_error_lists_supported_kinds() -> None:
    with pytest.raises(FtwizardError, match="mamba model") as caught:
        build_shape({"model_type": "mamba", "hidden_size": 32}, "state/space")
    assert "llama" in caught.value.hint


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("hidden_size", None, "has no hidden_size"),
        ("hidden_size", "4096", "not an integer"),
        ("hidden_size", True, "not an integer"),
        ("num_hidden_layers", -1, "not an integer"),
        ("vocab_size", 10**30, "not an integer"),
        ("num_key_value_heads", 7, "not a multiple"),
        ("tie_word_embeddings", "yes", "not true or false"),
        ("model_type", ["llama"], "has no model_type"),
    ],
)
def test_invalid_configuration_error_names_the_problem(key: str, value: object, text: str) -> None:
    with pytest.raises(FtwizardError, match=text):
        build_shape({**LLAMA_8B, key: value}, "someone/model")


def test_error_message_escapes_control_characters() -> None:
    with pytest.raises(FtwizardError) as caught:
        build_shape({**LLAMA_8B, "hidden_size": "\x1b]0;owned\x07"}, "a\x1b[31m")
    assert "\x1b" not in caught.value.message


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)
_KEYS = sorted({key for config in CONFIGS.values() for key in config} - {"model_type"})


@given(
    kind=st.sampled_from(list_supported()),
    changed=st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=5),
    dropped=st.sets(st.sampled_from(_KEYS), max_size=5),
)
def test_random_configurations_raise_only_ftwizard_errors(
    kind: str, changed: dict[str, object], dropped: set[str]
) -> None:
    config = {**SMALL, "model_type": kind, **changed}
    try:
        shape = build_shape({k: v for k, v in config.items() if k not in dropped}, "x")
    except FtwizardError as error:
        assert "Traceback" not in error.message
    else:
        assert 0 < shape.active <= shape.parameters
