"""The loss of each validation pair in DPO, from what the model and its reference return."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Report = Callable[[Any, Any], None]
"""Gets the losses of a batch's pairs, in nats, and a weight of 1 for each."""


def collect(trainer: Any, report: Report) -> None:
    """Call ``report`` after each batch of an evaluation, if the loss is that of the DPO paper.

    The model computes first, then the reference: another model, or the same with another adapter.
    """
    if getattr(trainer, "loss_types", None) != ["sigmoid"]:
        return
    outputs: list[Any] = []

    def keep(model: Any, _: Any, inputs: dict[str, Any], output: Any) -> None:
        if not trainer.model.training and inputs.get("fused_lm_head"):
            outputs.append(output.log_probs.detach().float().sum(1))

    for model in filter(None, (trainer.model, trainer.ref_model)):
        model.register_forward_hook(keep, with_kwargs=True)
    compute = trainer.compute_loss

    def compute_kept(model: Any, inputs: Any, *more: Any, **options: Any) -> Any:
        outputs.clear()
        loss = compute(model, inputs, *more, **options)
        if not trainer.model.training:
            losses = compute_losses(outputs, inputs, trainer.beta)
            report(losses, losses.new_ones(len(losses), dtype=int))
        outputs.clear()
        return loss

    trainer.compute_loss = compute_kept


def compute_losses(outputs: Sequence[Any], inputs: Mapping[str, Any], beta: float) -> Any:
    """Return the loss of each pair; ``outputs``: log-probabilities of the answers by the model and,
    unless they are in ``inputs`` already, by the reference."""
    import torch

    own = outputs[0]
    if len(outputs) > 1:
        reference = outputs[1]
    else:
        reference = torch.cat([inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]])
    chosen, rejected = (own - reference.to(own.device)).chunk(2)
    return -torch.nn.functional.logsigmoid(beta * (chosen - rejected))
