"""Setup and verification of TRL's tiled loss head.

It runs the decoder and then the output layer, bypassing the model's own forward. A model that does
more than that, or names its decoder differently, would fail at the first step or train on a wrong
loss. Source: trl.trainer.utils.add_fused_lm_head of TRL 1.16.
"""

from __future__ import annotations

import math
from typing import Any, cast

from ftwizard.errors import FtwizardError
from ftwizard.train.encoder import EncodedRow

CHECKED_TOKENS = 64
LOSS_TOLERANCE = 0.03
"""Tolerated difference between the losses, relative and in nats: 16-bit logits are rounded to 1 in
256."""


def set_decoder(model: Any) -> None:
    """Make ``model.base_model`` the decoder if the model's own prefix does not lead to it.

    transformers then returns the whole model. An example is Llama4ForCausalLM, whose prefix
    ``language_model`` is that of a text model within another, while its decoder is ``model``.
    """
    if model.base_model is not model:
        return
    from transformers import PreTrainedModel

    decoders = [child for child in model.children() if isinstance(child, PreTrainedModel)]
    if len(decoders) == 1:
        # Not registered as a module, so that the weights keep their names.
        object.__setattr__(model, model.base_model_prefix, decoders[0])


def score_trained_tokens_only() -> None:
    """Let TRL's head compute only the logits of trainable tokens on a CPU as well.

    TRL does so only with Triton, because changing shapes could cause recompilation elsewhere. Here
    nothing is compiled, and the head of a large vocabulary is a large part of a step.
    """
    from trl.trainer import utils

    # TRL 1.16 uses this function in this module only for this purpose.
    use_triton = getattr(utils, "_use_triton", None)
    if use_triton is not None:
        cast(Any, utils)._use_triton = lambda device: device.type == "cpu" or use_triton(device)


def router_settings(model: Any) -> dict[str, Any]:
    """Return TRL settings that turn off the router loss if TRL cannot count the model's experts.

    TRL reads ``num_experts``, but Llama 4 has ``num_local_experts``.
    """
    config = model.config.get_text_config()
    is_countable = hasattr(config, "num_experts") or config.model_type == "gpt_oss"
    return {} if is_countable else {"router_aux_loss_coef": 0.0}


def verify_loss(trainer: Any, rows: list[EncodedRow], temperature: float = 1.0) -> None:
    """Check that TRL's head computes the same loss as the model's own logits.

    ``temperature``: what the head divides logits by. Raises FtwizardError if the losses differ, or if TRL's head fails.
    """
    import torch

    model = trainer.model
    ids = rows[0].input_ids[:CHECKED_TOKENS]
    batch = torch.tensor([ids], device=model.device)
    model.eval()
    with torch.no_grad(), trainer.compute_loss_context_manager():
        logits = model(input_ids=batch, use_cache=False).logits[0, :-1].float() / temperature
        own = float(torch.nn.functional.cross_entropy(logits[::2], batch[0, 1::2]))
        labels = batch.clone()
        labels[0, 0::2] = -100  # like a prompt, without loss
        try:
            output = model(input_ids=batch, labels=labels, fused_lm_head=True, use_cache=False)
        except (AttributeError, TypeError, ValueError) as error:
            raise _unsupported(model, f"its loss head fails ({error})") from error
    loss = float(output.loss)
    if not math.isfinite(own):
        return  # the training reports a NaN loss itself
    if not abs(loss - own) <= LOSS_TOLERANCE * (1 + abs(own)):
        raise _unsupported(model, f"its loss head gives {loss:.3f}, the model itself {own:.3f}")


def _unsupported(model: Any, reason: str) -> FtwizardError:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return FtwizardError(
        f"TRL cannot train {type(base).__name__}: {reason}.",
        "Choose another model architecture, or try a newer TRL: pip install -U trl",
    )
