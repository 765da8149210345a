"""The base model in memory: in which precision, and where its generation ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ftwizard import machine
from ftwizard.errors import FtwizardError


def choose_precision(wanted: str) -> str:
    """Return ``bf16``, ``fp16`` or ``fp32``: what was asked for, else what the hardware has."""
    import torch

    if wanted == "fp16" and not torch.cuda.is_available():
        raise FtwizardError(
            "recipe.precision is fp16, which trains on GPUs only; there is none here.",
            "Use auto.",
        )
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if machine.has_bfloat16_cpu() else "fp32"


def refuse_quantised(base: Path) -> dict[str, Any]:
    """Return the model's configuration; raise FtwizardError if its weights are quantised.

    An adapter cannot be merged into 4-bit weights: it goes wrong, and in silence.
    """
    config: dict[str, Any] = json.loads((base / "config.json").read_text())
    if config.get("quantization_config"):
        raise FtwizardError(
            f"{base} is quantised; an adapter is trained on and merged into 16-bit weights only.",
            "Name the original 16-bit model.",
        )
    return config


def load(base: Path, precision: str) -> Any:
    """Load a base or merged model; raise FtwizardError for one that cannot be used."""
    import torch
    from transformers import AutoModelForCausalLM

    refuse_quantised(base)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
    try:
        return AutoModelForCausalLM.from_pretrained(
            base, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise FtwizardError(
            f"The model in {base} cannot be loaded: {str(error).splitlines()[0][:300]}",
            "It needs safetensors weights of a causal language model that transformers knows.",
        ) from error


def check_device(gpu: int | None) -> None:
    """Raise FtwizardError if a GPU was named and torch has none."""
    import torch

    if gpu is not None and not torch.cuda.is_available():
        raise FtwizardError(
            f"where.gpu is {gpu}, but torch sees no GPU here.",
            "Leave where.gpu out to train on the processors, or look at nvidia-smi.",
        )


def check_targets(model: Any, targets: tuple[str, ...]) -> None:
    """Raise FtwizardError for target modules that the model does not have."""
    import torch

    linear = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not name.startswith("lm_head")
    }
    names = [name for name, _ in model.named_modules()]
    missing = [t for t in targets if not any(n == t or n.endswith(f".{t}") for n in names)]
    if missing:
        raise FtwizardError(
            f"The model has no module called {', '.join(missing)} (recipe.target_modules).",
            f"It has: {', '.join(sorted(linear))}.",
        )


def stop_ids(base: Path) -> set[int]:
    """Return the tokens at which the model's generation ends, by its own configuration."""
    found: set[int] = set()
    for file in ("generation_config.json", "config.json"):
        try:
            value = json.loads((base / file).read_text()).get("eos_token_id")
        except (OSError, ValueError):
            continue
        found.update(value if isinstance(value, list) else [] if value is None else [value])
    return found
