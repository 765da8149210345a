"""TRL's own head over tiles of the logits, found and proved on the model before it trains.

It runs the decoder and then the output layer, past the model's own forward: a model that does more
than that, or names its decoder otherwise, would fail at the first step or train on another loss.
Source: trl.trainer.utils.add_fused_lm_head of TRL 1.16.
"""

from __future__ import annotations

import math
from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.train.tokenise import Encoded

PROVED_TOKENS = 64
TOLERANCE = 0.03
"""Between the two losses, relative and in nats: 16-bit logits are rounded to 1 in 256."""


def give_decoder(model: Any) -> None:
    """Let ``model.base_model`` be the decoder where the model's own prefix leads nowhere.

    transformers gives the whole model then, as of Llama4ForCausalLM: it prefixes the weights of a
    text part within another model, ``language_model``, and calls its own decoder ``model``.
    """
    if model.base_model is not model:
        return
    from transformers import PreTrainedModel

    within = [one for one in model.children() if isinstance(one, PreTrainedModel)]
    if len(within) == 1:
        # Beside torch's book of modules: the weights keep their names.
        object.__setattr__(model, model.base_model_prefix, within[0])


def score_trained_tokens_only(wanted: bool = True) -> None:
    """Let TRL's head compute the logits of tokens that are trained on, and of no others, on a CPU too.

    It does so with Triton alone: elsewhere shapes that change could mean compiling again. Here
    nothing is compiled, and the head of a large vocabulary is a good part of a step.
    """
    from trl.trainer import utils

    name = "_use_triton"  # TRL 1.16 asks it of the device, in this module for this alone
    asked = getattr(utils, name, None)
    if asked is None:
        return
    theirs = getattr(asked, "theirs", asked)

    def compacts(device: Any) -> bool:
        return device.type == "cpu" or bool(theirs(device))

    compacts.theirs = theirs  # type: ignore[attr-defined]
    setattr(utils, name, compacts if wanted else theirs)


def unbalanced(model: Any) -> dict[str, Any]:
    """Return the settings of a model of which TRL cannot count the experts: no loss for balance.

    It asks for ``num_experts``, and Llama 4 has ``num_local_experts``.
    """
    config = model.config.get_text_config()
    counts = hasattr(config, "num_experts") or config.model_type == "gpt_oss"
    return {} if counts else {"router_aux_loss_coef": 0.0}


def prove(trainer: Any, rows: list[Encoded]) -> None:
    """Try on the trainer's model that TRL's head gives the loss of the model's own logits.

    Raises FtwizardError where it does not, or cannot be run.
    """
    import torch

    model = trainer.model
    ids = rows[0].input_ids[:PROVED_TOKENS]
    batch = torch.tensor([ids], device=model.device)
    model.eval()
    with torch.no_grad(), trainer.compute_loss_context_manager():
        logits = model(input_ids=batch, use_cache=False).logits[0, :-1].float()
        own = float(torch.nn.functional.cross_entropy(logits[::2], batch[0, 1::2]))
        labels = batch.clone()
        labels[0, 0::2] = -100  # as of a prompt: these are not trained on
        try:
            theirs = model(input_ids=batch, labels=labels, fused_lm_head=True, use_cache=False)
        except (AttributeError, TypeError, ValueError) as error:
            raise _refused(model, f"its head fails there ({error})") from error
    loss = float(theirs.loss)
    if not math.isfinite(own):
        return  # a model whose own loss is no number is for the training to say so
    if not abs(loss - own) <= TOLERANCE * (1 + abs(own)):
        raise _refused(model, f"its head gives a loss of {loss:.3f}, the model's own {own:.3f}")


def _refused(model: Any, why: str) -> FtwizardError:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return FtwizardError(
        f"TRL cannot train {type(base).__name__}: {why}.",
        "Choose a model of another architecture, or try a newer TRL: pip install -U trl",
    )
