"""Choice of precision, attention and device for this machine."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.hardware import machine
from ftwizard.plan.schema import Recipe
from ftwizard.train import model_loading

AMPERE = (8, 0)
"""The first compute capability that flash-attn 2 runs on (its README)."""


def choose_precision(recipe: Recipe, config: dict[str, Any]) -> str:
    """Return ``bf16``, ``fp16`` or ``fp32``: the recipe's choice, else the best for the hardware.

    ``config`` is the model's. Raises FtwizardError for fp16 where it would not work.
    """
    import torch

    has_gpu, overflows = torch.cuda.is_available(), _overflows(config)
    if recipe.precision == "fp16" and overflows:
        raise FtwizardError(
            "recipe.precision fp16 does not work with Gemma models: activations overflow and the "
            "loss becomes NaN.",
            "Use auto: bf16 if the hardware supports it, else fp32.",
        )
    if recipe.precision == "fp16" and not has_gpu:
        raise FtwizardError(
            "recipe.precision fp16 needs a GPU, and this machine has none.",
            "Use auto.",
        )
    if recipe.precision != "auto":
        return recipe.precision
    if not has_gpu:
        return "bf16" if machine.has_bfloat16_cpu() else "fp32"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    # 4-bit weights are scaled for bf16's range, so fp16 is never chosen for them automatically.
    return "fp32" if overflows or recipe.method == "qlora" else "fp16"


def choose_attention(recipe: Recipe, precision: str, base: Path) -> str | None:
    """Return transformers' name for the attention to use; None for its default.

    The default is sdpa, or eager for models without it. Raises FtwizardError if the recipe requires
    flash attention and it is not available.
    """
    if recipe.attention == "flash_attention_2":
        if not _has_flash():
            raise FtwizardError(
                "recipe.attention flash_attention_2 needs the flash-attn package and an NVIDIA "
                "Ampere GPU or newer.",
                "Use auto: flash attention if available, else sdpa.",
            )
        if precision == "fp32":
            raise FtwizardError(
                "recipe.attention flash_attention_2 needs 16 bit, but the precision is fp32.",
                "Use auto for recipe.attention, or bf16 for recipe.precision.",
            )
    if recipe.attention != "auto":
        return recipe.attention
    is_usable = precision != "fp32" and _has_flash() and model_has_flash(base)
    return "flash_attention_2" if is_usable else None


def model_has_flash(base: Path) -> bool:
    """Return whether transformers supports flash-attn 2 for this model."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    model_class = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(model_loading.load_config(base)), None)
    versions = getattr(model_class, "_compatible_flash_implementations", None)
    is_supported = bool(getattr(model_class, "_supports_flash_attn", False))
    return is_supported and (versions is None or "flash_attention_2" in versions)


def _has_flash() -> bool:
    import torch

    return (
        machine.is_installed("flash_attn")
        and torch.cuda.is_available()
        and torch.cuda.get_device_capability() >= AMPERE
    )


def _overflows(config: dict[str, Any]) -> bool:
    """Return whether a model is a Gemma, made for bf16's range (transformers#36822)."""
    configs = (config, config.get("text_config") or {})
    return any("gemma" in str(part.get("model_type", "")) for part in configs)


def check_device(gpu: int | None) -> None:
    """Raise FtwizardError if the plan names a GPU and torch sees none."""
    import torch

    if gpu is not None and not torch.cuda.is_available():
        raise FtwizardError(
            f"where.gpu is {gpu}, but torch sees no GPU.",
            "Remove where.gpu to train on the CPU, or check nvidia-smi.",
        )


def silence_libraries() -> None:
    """Silence deprecations within the libraries, and warnings about an optional kernel."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl|peft)\b")
    # On CPUs it warns at every import if the package that downloads kernels is missing.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
