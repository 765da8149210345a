"""Weights of open models: an adapter in PEFT's form, or a whole model, with small random numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

RANK, WIDTH, LAYERS = 4, 32, 2


def write_adapter(folder: Path, base: str) -> Path:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors`` for two layers of a Llama."""
    random = np.random.default_rng(1)
    tensors = {}
    for layer in range(LAYERS):
        prefix = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        for name, shape in (("lora_A", (RANK, WIDTH)), ("lora_B", (WIDTH, RANK))):
            numbers = random.normal(0, 0.05, shape).astype(np.float32)
            tensors[f"{prefix}.{name}.weight"] = numbers
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "r": RANK,
        "lora_alpha": 2 * RANK, "lora_dropout": 0.0, "target_modules": ["q_proj"], "bias": "none",
        "inference_mode": True,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2))
    return folder


def write_model(folder: Path) -> Path:
    """Write ``config.json`` and ``model.safetensors`` of a very small Llama, without its tokenizer."""
    random = np.random.default_rng(1)
    names = ["model.embed_tokens", *(f"model.layers.{n}.self_attn.q_proj" for n in range(LAYERS))]
    tensors = {
        f"{name}.weight": random.normal(0, 0.05, (WIDTH, WIDTH)).astype(np.float32)
        for name in names
    }
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS, "num_attention_heads": 2, "vocab_size": WIDTH,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    return folder
