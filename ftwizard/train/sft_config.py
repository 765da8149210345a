"""TRL's settings for a plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ftwizard.jobs.folder import JobFolder
from ftwizard.plan import LEARNING_RATES, Plan
from ftwizard.train import schedule

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
    """Return them for ``total`` steps in the precision of the hardware; ``changes`` come last."""
    import torch
    from trl.trainer.sft_config import SFTConfig

    recipe = plan.recipe
    has_gpu = torch.cuda.is_available()
    every = recipe.evaluation_steps or schedule.evaluation_steps(total)
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
        **_recomputing(recipe.gradient_checkpointing, has_gpu),
        dataloader_pin_memory=has_gpu,
        # A router that is frozen cannot balance its experts; their loss would only blur ours.
        router_aux_loss_coef=None if recipe.method == "full" else 0.0,
        # Rows are masked, cut and packed already; TRL's own ways refuse many templates, drop rows,
        # and would pack only after the steps are counted. Packed, it lays them end to end.
        assistant_only_loss=False,
        max_length=None,
        packing=False,
        padding_free=recipe.packing,
        # Each step is on record, as it is: a filtered NaN would hide.
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if validates else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=recipe.save_steps or every,
        save_total_limit=None,  # rotation is ours: theirs deletes before the new one is marked
        load_best_model_at_end=False,
        disable_tqdm=True,
        report_to=list(plan.report_to) or "none",
    )
    return SFTConfig(**settings | dict(changes or {}))


def _recomputing(wanted: bool | None, has_gpu: bool) -> dict[str, Any]:
    """Return whether activations are recomputed, by the name that transformers has for it.

    5.2x renames the setting; the old name then warns on every run.
    """
    from trl.trainer.sft_config import SFTConfig

    known = {field.name for field in dataclasses.fields(SFTConfig)}
    prefix = "activation" if "activation_checkpointing" in known else "gradient"
    return {f"{prefix}_checkpointing": has_gpu if wanted is None else wanted}
