"""Precision and attention that a run uses on a machine, and what the machine does not support.

They follow ``ftwizard.train.runtime``, which decides when a run starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from ftwizard.catalog.gpu_specs import GpuSpec
from ftwizard.errors import FtwizardError
from ftwizard.estimate.training_setup import Attention
from ftwizard.hardware.hub_kernels import FLASH_ATTENTION
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import Recipe

Precision = Literal["bf16", "fp16", "fp32"]
_FLASH = ("flash_attention_2", FLASH_ATTENTION)


def resolve_precision(
    recipe: Recipe, card: GpuSpec | None, *, gpu: bool, bf16_cpu: bool, shape: ModelShape | None = None
) -> Precision:  # fmt: skip
    """Return the precision that a run computes in; where training refuses it, that of ``auto``.

    ``card``: None for a GPU that is not in the catalog; ``gpu``: whether there is one; ``shape``:
    None if the model is unknown.
    """
    overflows = _overflows(shape)
    is_refused = recipe.precision == "fp16" and (not gpu or overflows)
    if recipe.precision != "auto" and not is_refused:
        return recipe.precision
    if not gpu:
        return "bf16" if bf16_cpu else "fp32"
    if card is None or card.bf16:
        return "bf16"
    return "fp32" if recipe.method == "qlora" or overflows else "fp16"


def resolve_attention(
    recipe: Recipe, card: GpuSpec | None, precision: Precision, *, gpu: bool
) -> Attention:
    """Return how attention is computed: sdpa for ``auto``, which needs no less than flash-attn."""
    if recipe.attention == "eager":
        return "eager"
    if recipe.attention in _FLASH and _runs_flash(card, precision, gpu=gpu):
        return "flash_attention_2"
    return "sdpa"


def _runs_flash(card: GpuSpec | None, precision: Precision, *, gpu: bool) -> bool:
    return gpu and precision != "fp32" and (card is None or card.flash)


def _overflows(shape: ModelShape | None) -> bool:
    """Return whether a model is a Gemma, made for bf16's range (transformers#36822)."""
    return shape is not None and "gemma" in shape.model_type


def check_settings(
    recipe: Recipe, card: GpuSpec | None, *, gpu: bool, shape: ModelShape | None = None
) -> FtwizardError | None:
    """Return why training refuses the precision or the attention on this machine; None if it runs."""
    if recipe.precision == "fp16" and not gpu:
        return FtwizardError(
            "recipe.precision fp16 needs a GPU, and there is none.", "Use auto: bf16 or fp32."
        )
    if recipe.precision == "fp16" and _overflows(shape):
        return FtwizardError(
            "recipe.precision fp16 does not work with Gemma models: activations overflow.",
            "Use auto: bf16 if the GPU supports it, else fp32.",
        )
    if recipe.kernels and not gpu:
        return FtwizardError(
            "recipe.kernels needs an NVIDIA GPU, and there is none.", "Remove recipe.kernels."
        )
    if recipe.attention not in _FLASH:
        return None
    if not gpu:
        return FtwizardError(
            f"recipe.attention {recipe.attention} needs an NVIDIA GPU, and there is none.",
            "Use auto: sdpa on the CPU.",
        )
    if card is not None and not card.flash:
        return FtwizardError(
            f"recipe.attention {recipe.attention} needs an Ampere GPU or newer (compute capability "
            f"8.0); {card.name} has {card.capability:g}.",
            "Use auto: sdpa there.",
        )
    if recipe.precision == "fp32":
        return FtwizardError(
            f"recipe.attention {recipe.attention} needs 16 bit, but recipe.precision is fp32.",
            "Use auto for one of them.",
        )
    return None


def describe_emulation(recipe: Recipe, card: GpuSpec | None) -> Iterator[str]:
    """Yield a caution for bf16 on a GPU without bf16 tensor cores, where it is emulated."""
    if recipe.precision == "bf16" and card is not None and not card.bf16:
        other = "fp32" if recipe.method == "qlora" else "fp16"
        yield (
            f"{card.name} has no bf16 tensor cores (compute capability {card.capability:g}): bf16 is "
            f"emulated, at the speed of fp32 or less. recipe.precision auto uses {other}."
        )
