"""Models with random weights, rows and plans of the GPU tests, for either device."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, Literal

from tests.helpers.models import tiny_tokenizer

Device = Literal["cuda", "cpu"]
SHAPES: dict[tuple[Device, str], dict[str, int]] = {
    # The sizes of SmolLM2-135M and of Llama-3.2-1B.
    ("cuda", "small"): {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
                        "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152},
    ("cuda", "large"): {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
                        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256},
    ("cpu", "small"): {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
                       "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512},
    ("cpu", "large"): {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4,
                       "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1024},
}  # fmt: skip
MAX_LENGTH: dict[Device, int] = {"cuda": 1024, "cpu": 256}
BATCH: dict[Device, int] = {"cuda": 8, "cpu": 4}
STEPS: dict[Device, int] = {"cuda": 16, "cpu": 8}
WORDS = ("printer", "jams", "on", "page", "two", "again", "after", "the", "update", "of", "March")


def make_model(folder: Path, size: str, device: Device) -> Path:
    """Write a Llama with random weights in bfloat16, made on ``device``; return its folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer()
    shape: dict[str, Any] = {**SHAPES[device, size]}
    config = LlamaConfig(
        **shape, max_position_embeddings=8192, tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device(device):
        model = LlamaForCausalLM(config).bfloat16()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    del model
    if device == "cuda":
        torch.cuda.empty_cache()  # other processes measure the memory in use
    return folder


def write_rows(path: Path, device: Device, count: int, *, equal: bool = False) -> Path:
    """Write rows of different lengths up to the maximum, or of about one length."""
    draw = random.Random(7)
    lines = []
    for number in range(count):
        # One token per byte, in these models.
        size = MAX_LENGTH[device] - 100
        wanted = size if equal else max(40, int(size * draw.random() ** 2))
        text = f"{number}:"
        while len(text) < wanted:
            text += " " + draw.choice(WORDS)
        half = len(text[:wanted]) // 2
        lines.append(json.dumps({"messages": [
            {"role": "user", "content": text[:half]},
            {"role": "assistant", "content": text[half:wanted]},
        ]}))  # fmt: skip
    path.write_text("\n".join(lines) + "\n")
    return path


def write_plan(
    root: Path, model: Path, device: Device, *, equal: bool = False, **recipe: Any
) -> Path:
    """Write a plan of a few steps with validation rows; return its file."""
    batch = BATCH[device]
    rows = write_rows(root / "train.jsonl", device, batch * STEPS[device], equal=equal)
    validation = write_rows(root / "validation.jsonl", device, batch * 2, equal=equal)
    settings = {
        "batch_size": batch, "epochs": 1, "max_steps": STEPS[device], "learning_rate": 1e-3,
        "dropout": 0.0, "max_length": MAX_LENGTH[device], "evaluation_steps": STEPS[device], **recipe,
    }  # fmt: skip
    body = {
        "data": {"files": {"train": rows.name, "validation": validation.name}},
        "model": {"name": str(model)},
        "recipe": settings,
        "samples": {"count": 0},
        "finish": {"merge": False, "compare": False},
    }
    path = root / "plan.yaml"
    path.write_text(json.dumps(body))
    return path
