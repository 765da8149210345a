"""Preference training with TRL's DPOTrainer and KTOTrainer: from pairs, and from labeled answers.

Both compare the model with a reference: the model at the start of the training. For a new adapter
that is the base model, with the adapter turned off. An adapter that continues from an earlier run is
compared with a frozen copy of itself, not with the base model. A full fine-tune asks the reference
once, before the first step.
"""

from __future__ import annotations

import functools
from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.plan.schema import KTO, Recipe
from ftwizard.train import loss_head, trainer_rows
from ftwizard.train.objectives.setup import Objective, TrainerSetup, shared_settings

REFERENCE = "ref"
"""Name that TRL looks for: the adapter that is the reference."""
REFERENCE_TOLERANCE = 0.01
"""Tolerated difference from the reference before the first step, relative to the log-probability."""
_OWN_ROWS: dict[str, Any] = {
    # Rows are already masked and truncated. TRL would drop some and leave out columns.
    "max_length": None,
    "remove_unused_columns": False,
    # The trained model and its reference are compared on the same terms.
    "disable_dropout": True,
}


def make_dpo(setup: TrainerSetup) -> Any:
    """Return TRL's DPOTrainer with all pairs."""
    from trl.trainer.dpo_config import DPOConfig

    from ftwizard.train.objectives.encoded_trainers import EncodedDPOTrainer

    settings = setup.plan.recipe.dpo
    loss = settings.loss_type
    own = {
        "beta": settings.beta,
        "loss_type": [loss] if isinstance(loss, str) else list(loss),
        "loss_weights": None if settings.loss_weights is None else list(settings.loss_weights),
        "label_smoothing": settings.label_smoothing,
    }
    return _make(setup, EncodedDPOTrainer, DPOConfig, own)


def make_kto(setup: TrainerSetup) -> Any:
    """Return TRL's KTOTrainer with all labeled answers."""
    from trl.trainer.kto_config import KTOConfig

    from ftwizard.train.objectives.encoded_trainers import EncodedKTOTrainer

    settings: KTO = setup.plan.recipe.kto
    own = {
        "beta": settings.beta,
        "loss_type": settings.loss_type,
        "desirable_weight": settings.desirable_weight,
        "undesirable_weight": settings.undesirable_weight,
        "train_sampling_strategy": "sequential",
    }
    return _make(setup, EncodedKTOTrainer, KTOConfig, own)


def _make(setup: TrainerSetup, trainer: type, config: type, own: dict[str, Any]) -> Any:
    plan, ready = setup.plan, setup.ready
    validation = ready.encoded["validation"]
    settings = {
        **shared_settings(
            plan, setup.folder, ready.total, setup.precision, config, validates=bool(validation)
        ),
        **_OWN_ROWS,
        **own,
        "precompute_ref_log_probs": _asks_reference_first(setup),
        **loss_head.router_settings(setup.model),
        **setup.changes,
    }
    if settings["precompute_ref_log_probs"]:
        setup.say("loading", what="log-probabilities of the reference")
    tokenizer = ready.encoder.tokenizer
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    evaluated = None
    if validation:
        evaluated = trainer_rows.build_in_order(validation, plan.recipe, plan.ranks)
    if plan.ranks > 1 and settings["precompute_ref_log_probs"]:
        for name, rows in (("train", ready.train), ("validation", evaluated)):
            trainer_rows.share_reference(rows, setup.folder.ranks / f"reference-{name}.arrow")
    return trainer(
        model=setup.model,
        args=config(**settings),
        data_collator=trainer_rows.PreferenceCollator(tokenizer.pad_token_id),
        train_dataset=ready.train,
        eval_dataset=evaluated,
        processing_class=tokenizer,
        peft_config=setup.lora_config,
        callbacks=setup.callbacks,
    )


def _asks_reference_first(setup: TrainerSetup) -> bool:
    """Return whether TRL asks the reference when it builds the trainer.

    The weights of an earlier run's adapter are loaded after that, so it cannot be asked then.
    """
    return asks_reference_first(setup.plan.recipe, has_origin=setup.folder.origin.is_dir())


def asks_reference_first(recipe: Recipe, *, has_origin: bool) -> bool:
    """Return the same for a run that has weights of an earlier one (``has_origin``), or none."""
    return recipe.asks_reference_first and not (recipe.method != "full" and has_origin)


def verify(setup: TrainerSetup, trainer: Any) -> None:
    """Check that the trainer has exactly our rows, the right loss and the right reference.

    Raises FtwizardError if it does not.
    """
    encoded = setup.ready.encoded
    trainer_rows.verify_rows(trainer.train_dataset, encoded["train"])
    trainer_rows.verify_rows(trainer.eval_dataset, encoded["validation"])
    loss_head.verify_loss(trainer, encoded["train"])
    verify_reference(trainer)


def freeze_reference(model: Any) -> None:
    """Add a frozen copy of the adapter, which TRL then takes as the reference.

    Checkpoints do not have it: it is made again from the run's initial weights.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from trl.trainer.utils import disable_dropout_in_model

    (name,) = model.active_adapters
    model.add_adapter(REFERENCE, model.peft_config[name])
    set_peft_model_state_dict(
        model, get_peft_model_state_dict(model, adapter_name=name), adapter_name=REFERENCE
    )
    model.set_adapter(name)
    disable_dropout_in_model(model)  # TRL did so before there was a reference
    for parameter_name, parameter in model.named_parameters():
        if f".{REFERENCE}." in parameter_name:
            parameter.data = parameter.data.float()
            parameter.requires_grad_(False)
    model.save_pretrained = functools.partial(model.save_pretrained, selected_adapters=[name])


def verify_reference(trainer: Any) -> None:
    """Check that the model gives its first row the log-probability that the reference gives it.

    Raises FtwizardError if not: the training would move away from another model.
    """
    import torch

    batch = trainer._prepare_inputs(trainer.data_collator([trainer.train_dataset[0]]))
    mask = batch["completion_mask"]
    labels = batch["input_ids"].masked_fill(mask == 0, -100)
    model = trainer.model
    model.train()  # as in a step: neither has dropout
    with torch.no_grad(), trainer.compute_loss_context_manager():
        output = model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels,
            fused_lm_head=True, use_cache=False,
        )  # fmt: skip
        own = output.log_probs.sum(1)
        if "ref_chosen_logps" in batch:
            reference = torch.cat([batch["ref_chosen_logps"], batch["ref_rejected_logps"]])
        elif "ref_logps" in batch:
            reference = batch["ref_logps"]
        else:
            answers = trainer.compute_ref_log_probs(trainer.ref_model or model, batch)
            is_pair = len(own) == 2
            reference = torch.cat(list(answers)) if is_pair else answers[0]
    reference = reference.to(own.device)
    if not torch.isfinite(own).all():
        return  # the training reports a NaN loss itself
    if ((own - reference).abs() > REFERENCE_TOLERANCE * (1 + own.abs())).any():
        raise FtwizardError(
            "The reference model is not the model at the start of the training: log-probabilities "
            f"{own.tolist()} and {reference.tolist()}.",
            "This is a bug in ftwizard with this version of TRL. Please report it.",
        )


DPO_OBJECTIVE = Objective(make_dpo, verify, after_load=freeze_reference)
KTO_OBJECTIVE = Objective(make_kto, verify, after_load=freeze_reference)
