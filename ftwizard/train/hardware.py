"""What this machine computes in, and on."""

from __future__ import annotations

from ftwizard import machine
from ftwizard.errors import FtwizardError
from ftwizard.plan import Method


def choose_precision(wanted: str, method: Method = "lora") -> str:
    """Return ``bf16``, ``fp16`` or ``fp32``: what was asked for, else what the hardware has."""
    import torch

    has_gpu = torch.cuda.is_available()
    if wanted == "fp16" and not has_gpu:
        raise FtwizardError(
            "recipe.precision is fp16, which trains on GPUs only; there is none here.",
            "Use auto.",
        )
    if wanted != "auto":
        return wanted
    if not has_gpu:
        return "bf16" if machine.has_bfloat16_cpu() else "fp32"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    # 4-bit weights are scaled for bf16's range; fp16 beside them overflows, so it is on demand only.
    return "fp32" if method == "qlora" else "fp16"


def check_device(gpu: int | None) -> None:
    """Raise FtwizardError if a GPU was named and torch has none."""
    import torch

    if gpu is not None and not torch.cuda.is_available():
        raise FtwizardError(
            f"where.gpu is {gpu}, but torch sees no GPU here.",
            "Leave where.gpu out to train on the processors, or look at nvidia-smi.",
        )
