"""Supervised fine-tuning with TRL's SFTTrainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ftwizard.jobs.folder import JobFolder
from ftwizard.plan.schema import Plan
from ftwizard.train import loss_head, packing
from ftwizard.train.objectives.setup import Objective, TrainerSetup, shared_settings

if TYPE_CHECKING:
    from trl.trainer.sft_config import SFTConfig


def make_trainer(setup: TrainerSetup) -> Any:
    """Return TRL's SFTTrainer with all rows."""
    from trl.trainer.sft_trainer import SFTTrainer

    ready, model = setup.ready, setup.model
    validation = ready.encoded["validation"]
    return SFTTrainer(
        model=model,
        args=build_config(
            setup.plan,
            setup.folder,
            ready.total,
            setup.precision,
            validates=bool(validation),
            changes={**loss_head.router_settings(model), **setup.changes},
        ),
        train_dataset=ready.train,
        eval_dataset=packing.build_dataset(validation) if validation else None,
        processing_class=ready.encoder.tokenizer,
        peft_config=setup.lora_config,
        callbacks=setup.callbacks,
    )


def build_config(
    plan: Plan,
    folder: JobFolder,
    total: int,
    precision: str,
    *,
    validates: bool,
    changes: Mapping[str, Any] | None = None,
) -> SFTConfig:
    """Return TRL's SFTConfig for ``total`` steps in ``precision``; ``changes`` override settings."""
    from trl.trainer.sft_config import SFTConfig

    shared = shared_settings(plan, folder, total, precision, SFTConfig, validates=validates)
    settings: dict[str, Any] = {
        # Rows are already masked, truncated and packed. TRL would refuse many templates, drop rows,
        # and pack only after the steps are counted. It lays rows end to end.
        "assistant_only_loss": False,
        "max_length": None,
        "packing": False,
        "padding_free": plan.recipe.is_flat,
    }
    return SFTConfig(**shared | settings | dict(changes or {}))


def verify(setup: TrainerSetup, trainer: Any) -> None:
    """Check that the trainer has exactly our rows, computes the right loss and separates packed rows.

    Raises FtwizardError if it does not.
    """
    ready = setup.ready
    packing.verify_rows(trainer.train_dataset, ready.encoded["train"])
    packing.verify_rows(trainer.eval_dataset, ready.encoded["validation"])
    loss_head.verify_loss(trainer, ready.encoded["train"])
    if setup.plan.recipe.is_flat:
        setting = "packing" if setup.plan.recipe.packing else "padding_free"
        packing.verify_isolation(trainer, ready.encoded["train"], setup.precision, setting)


OBJECTIVE = Objective(make_trainer, verify)
