"""TRL's SFTConfig for a plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ftwizard.estimate import training_setup
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan.schema import LEARNING_RATES, Plan

if TYPE_CHECKING:
    from trl.trainer.sft_config import SFTConfig


def build(
    plan: Plan,
    folder: JobFolder,
    total: int,
    precision: str,
    *,
    validates: bool,
    changes: Mapping[str, Any] | None = None,
) -> SFTConfig:
    """Return the SFTConfig for ``total`` steps in ``precision``; ``changes`` override settings."""
    import torch
    from trl.trainer.sft_config import SFTConfig

    recipe = plan.recipe
    has_gpu = torch.cuda.is_available()
    every = recipe.evaluation_steps or training_setup.evaluation_steps(total)
    settings: dict[str, Any] = dict(
        output_dir=str(folder.checkpoints),
        run_name=folder.id,
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation,
        learning_rate=recipe.learning_rate or LEARNING_RATES[recipe.method],
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
        **_checkpointing(recipe.gradient_checkpointing, has_gpu),
        dataloader_pin_memory=has_gpu,
        # A frozen router cannot balance its experts, so the router loss would only add noise.
        router_aux_loss_coef=None if recipe.method == "full" else 0.0,
        # Rows are already masked, truncated and packed. TRL would refuse many templates, drop rows,
        # and pack only after the steps are counted. It lays packed rows end to end.
        assistant_only_loss=False,
        max_length=None,
        packing=False,
        padding_free=recipe.packing,
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
    return SFTConfig(**settings | dict(changes or {}))


def _checkpointing(setting: bool | None, has_gpu: bool) -> dict[str, Any]:
    """Return the setting for activation checkpointing under its name in transformers.

    It was renamed in 5.2x, where the old name warns on every run.
    """
    from trl.trainer.sft_config import SFTConfig

    names = {field.name for field in dataclasses.fields(SFTConfig)}
    prefix = "activation" if "activation_checkpointing" in names else "gradient"
    return {f"{prefix}_checkpointing": has_gpu if setting is None else setting}
