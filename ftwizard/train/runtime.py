"""Choice of precision, attention and device for this machine."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.hardware import hub_kernels, machine
from ftwizard.plan.schema import Recipe
from ftwizard.train import model_loading

FLASH_ATTENTIONS = ("flash_attention_2", hub_kernels.FLASH_ATTENTION)
"""FlashAttention 2: of the package flash-attn, and of the Hub."""
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
    if recipe.attention in FLASH_ATTENTIONS:
        if reason := explain_no_flash(recipe.attention, precision):
            raise FtwizardError(
                f"recipe.attention {recipe.attention} cannot be used: {reason}.",
                "Use auto for recipe.attention: flash attention if available, else sdpa.",
            )
        if recipe.attention == hub_kernels.FLASH_ATTENTION and not model_has_flash(base):
            raise FtwizardError(  # transformers would take another kernel, or none
                f"recipe.attention {recipe.attention} is not supported for this model.",
                "Use auto for recipe.attention.",
            )
    if recipe.attention != "auto":
        return recipe.attention
    is_usable = not explain_no_flash("flash_attention_2", precision) and model_has_flash(base)
    return "flash_attention_2" if is_usable else None


def explain_no_flash(attention: str, precision: str) -> str | None:
    """Return why one of ``FLASH_ATTENTIONS`` cannot be used here in ``precision``; None if it can."""
    import torch

    if not torch.cuda.is_available():
        return "it needs an NVIDIA GPU of the Ampere generation or newer, and there is none"
    if torch.cuda.get_device_capability() < AMPERE:
        return f"it needs an NVIDIA GPU of the Ampere generation or newer, not {torch.cuda.get_device_name()}"
    if precision == "fp32":
        return "it needs 16 bit, but the precision is fp32"
    if attention == hub_kernels.FLASH_ATTENTION:
        reason = hub_kernels.explain_missing()
        return reason and f"{reason} ({hub_kernels.format_install_command()})"
    if machine.is_installed("flash_attn"):
        return None
    return "the flash-attn package is not installed (pip install flash-attn --no-build-isolation)"


def explain_no_kernels() -> str | None:
    """Return why recipe.kernels cannot be used on this machine; None if it can."""
    import torch

    if not torch.cuda.is_available():
        return "it needs an NVIDIA GPU, and there is none"
    reason = hub_kernels.explain_missing()
    return reason and f"{reason} ({hub_kernels.format_install_command()})"


def check_kernels(recipe: Recipe) -> None:
    """Raise FtwizardError if the recipe wants the Hub's kernels and they cannot be used."""
    if recipe.kernels and (reason := explain_no_kernels()):
        raise FtwizardError(f"recipe.kernels cannot be used: {reason}.", "Remove recipe.kernels.")


def list_impossible(precision: str, base: Path) -> dict[str, str]:
    """Return why values of recipe.attention, or ``kernels``, cannot be used here for this model."""
    reasons: dict[str, str] = {}
    if not getattr(_model_class(base), "_supports_sdpa", False):
        reasons["sdpa"] = "transformers does not support it for this model"
    for name in FLASH_ATTENTIONS:
        if reason := explain_no_flash(name, precision):
            reasons[name] = reason
        elif not model_has_flash(base):
            reasons[name] = "transformers does not support it for this model"
    if reason := explain_no_kernels():
        reasons["kernels"] = reason
    return reasons


def _model_class(base: Path) -> Any:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    return MODEL_FOR_CAUSAL_LM_MAPPING.get(type(model_loading.load_config(base)), None)


def model_has_flash(base: Path) -> bool:
    """Return whether transformers supports FlashAttention 2 for this model."""
    model_class = _model_class(base)
    versions = getattr(model_class, "_compatible_flash_implementations", None)
    is_supported = bool(getattr(model_class, "_supports_flash_attn", False))
    return is_supported and (versions is None or "flash_attention_2" in versions)


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
