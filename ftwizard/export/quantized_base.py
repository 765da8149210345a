"""Weights that QLoRA quantized for training: NF4 with double quantization."""

from __future__ import annotations

from ftwizard.errors import FtwizardError, MissingExtra
from ftwizard.export.merge_layout import Base
from ftwizard.hardware.machine import is_installed
from ftwizard.text import make_visible
from ftwizard.train.model_loading import without_weights


def list_quantized(base: Base) -> frozenset[str]:
    """Return the tensors that transformers and bitsandbytes quantize when they load this model.

    The model is built without weights for that. Raises FtwizardError if the files store a linear
    layer under another name.
    """
    if not is_installed("bitsandbytes"):
        raise MissingExtra("local", "bitsandbytes")
    import torch
    from transformers.quantizers.base import get_keys_to_not_convert
    from transformers.quantizers.quantizers_utils import should_convert_module

    model = without_weights(base.folder)
    kept = get_keys_to_not_convert(model)
    names = [
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and should_convert_module(name, kept)
    ]
    missing = [name for name in names if name not in base.tensors]
    if missing or not names:
        problem = f" ({make_visible(missing[0], 100)})" if missing else ""
        raise FtwizardError(
            f"{make_visible(str(base.folder))} stores its linear layers in a form that cannot be "
            f"dequantized here{problem}.",
            "Merge into the 16-bit base: --onto 16-bit.",
        )
    return frozenset(names)
