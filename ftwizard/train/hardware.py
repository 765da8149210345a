"""What this machine computes in, and on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ftwizard import machine
from ftwizard.errors import FtwizardError
from ftwizard.plan import Recipe
from ftwizard.train import base_model

AMPERE = (8, 0)
"""The first compute capability that flash-attn 2 runs on (its README)."""


def choose_precision(recipe: Recipe, config: dict[str, Any]) -> str:
    """Return ``bf16``, ``fp16`` or ``fp32``: what was asked for, else what the hardware has.

    ``config`` is the model's. Raises FtwizardError for fp16 where it would go wrong.
    """
    import torch

    has_gpu, overflows = torch.cuda.is_available(), _overflows(config)
    if recipe.precision == "fp16" and overflows:
        raise FtwizardError(
            "recipe.precision is fp16, in which Gemma's activations overflow: the loss is no "
            "number.",
            "Use auto: bf16 where the hardware has it, else fp32.",
        )
    if recipe.precision == "fp16" and not has_gpu:
        raise FtwizardError(
            "recipe.precision is fp16, which trains on GPUs only; there is none here.",
            "Use auto.",
        )
    if recipe.precision != "auto":
        return recipe.precision
    if not has_gpu:
        return "bf16" if machine.has_bfloat16_cpu() else "fp32"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    # 4-bit weights are scaled for bf16's range; fp16 beside them is on demand only.
    return "fp32" if overflows or recipe.method == "qlora" else "fp16"


def choose_attention(recipe: Recipe, precision: str, base: Path) -> str | None:
    """Return transformers' name of the attention to use; None for its own choice.

    That is sdpa, or eager for models that lack it. Raises FtwizardError where flash attention is
    demanded and cannot be had.
    """
    if recipe.attention == "flash_attention_2":
        if not _has_flash():
            raise FtwizardError(
                "recipe.attention is flash_attention_2, which needs the package flash-attn and an "
                "NVIDIA GPU of the Ampere generation or newer.",
                "Use auto: flash attention where it is there, else sdpa.",
            )
        if precision == "fp32":
            raise FtwizardError(
                "recipe.attention is flash_attention_2, which computes in 16 bit, but the "
                "precision here is fp32.",
                "Use auto for recipe.attention, or bf16 for recipe.precision.",
            )
    if recipe.attention != "auto":
        return recipe.attention
    flash = precision != "fp32" and _has_flash() and model_has_flash(base)
    return "flash_attention_2" if flash else None


def model_has_flash(base: Path) -> bool:
    """Say whether transformers can compute this model's attention by flash-attn 2."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    kind = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(base_model.load_config(base)), None)
    only = getattr(kind, "_compatible_flash_implementations", None)
    able = bool(getattr(kind, "_supports_flash_attn", False))
    return able and (only is None or "flash_attention_2" in only)


def _has_flash() -> bool:
    import torch

    return (
        machine.is_installed("flash_attn")
        and torch.cuda.is_available()
        and torch.cuda.get_device_capability() >= AMPERE
    )


def _overflows(config: dict[str, Any]) -> bool:
    """Say whether a model is of the Gemma family, made for bf16's range (transformers#36822)."""
    kinds = (config, config.get("text_config") or {})
    return any("gemma" in str(kind.get("model_type", "")) for kind in kinds)


def check_device(gpu: int | None) -> None:
    """Raise FtwizardError if a GPU was named and torch has none."""
    import torch

    if gpu is not None and not torch.cuda.is_available():
        raise FtwizardError(
            f"where.gpu is {gpu}, but torch sees no GPU here.",
            "Leave where.gpu out to train on the processors, or look at nvidia-smi.",
        )
