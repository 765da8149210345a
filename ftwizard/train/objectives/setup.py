"""What every training objective needs to build its trainer, and the settings that all share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ftwizard.estimate import training_setup
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan.schema import Plan
from ftwizard.train.inputs import TrainingInputs


class TrainerSetup(NamedTuple):
    """A loaded model and everything that its trainer is built from."""

    plan: Plan
    folder: JobFolder
    ready: TrainingInputs
    model: Any
    """The model to train, without an adapter."""
    precision: str
    lora_config: Any
    """peft's LoraConfig; None for a full fine-tune."""
    callbacks: list[Any]
    changes: Mapping[str, Any]
    """Settings of TRL that override those of the plan."""
    say: Callable[..., None]
    """Called with a phase of what takes long."""


class Objective(NamedTuple):
    """The functions of a training objective."""

    make_trainer: Callable[[TrainerSetup], Any]
    """Returns TRL's trainer with all rows."""
    verify: Callable[[TrainerSetup, Any], None]
    """Checks the trainer, with its initial weights, before the first step; raises FtwizardError."""
    after_load: Callable[[Any], None] = lambda model: None
    """Takes the model once its adapter has the weights of an earlier run."""


def shared_settings(
    plan: Plan, folder: JobFolder, total: int, precision: str, config: type, *, validates: bool
) -> dict[str, Any]:
    """Return the settings for ``total`` steps in ``precision`` that all of TRL's trainers take.

    ``config``: the class of the trainer's settings.
    """
    import torch

    recipe = plan.recipe
    has_gpu = torch.cuda.is_available()
    every = recipe.evaluation_steps or training_setup.evaluation_steps(total)
    return dict(
        output_dir=str(folder.link / folder.checkpoints.name),
        run_name=folder.id,
        num_train_epochs=recipe.epochs,
        max_steps=-1 if recipe.max_steps is None else total,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation,
        learning_rate=recipe.peak_learning_rate,
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(
            recipe.schedule, recipe.schedule
        ),
        warmup_steps=round(recipe.warmup * total),
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        seed=recipe.seed,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=not has_gpu,
        **_checkpointing(recipe.gradient_checkpointing, config, has_gpu=has_gpu),
        dataloader_pin_memory=has_gpu,
        # A frozen router cannot balance its experts, so the router loss would only add noise.
        router_aux_loss_coef=None if recipe.method == "full" else 0.0,
        # Every step is logged, unfiltered: a filter would hide NaN.
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if validates else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=recipe.save_steps or every,
        save_total_limit=None,  # we rotate: TRL deletes before the new checkpoint is marked
        load_best_model_at_end=False,
        disable_tqdm=True,
        report_to=list(plan.report_to) or "none",
    )


def _checkpointing(setting: bool | None, config: type, *, has_gpu: bool) -> dict[str, Any]:
    """Return the setting for activation checkpointing under its name in transformers.

    It was renamed in 5.2x, where the old name warns on every run.
    """
    names = {field.name for field in dataclasses.fields(config)}
    prefix = "activation" if "activation_checkpointing" in names else "gradient"
    return {f"{prefix}_checkpointing": has_gpu if setting is None else setting}
