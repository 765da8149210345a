"""Reinforcement with TRL's GRPOTrainer: the model answers prompts, and rewards judge its answers.

With a KL penalty, the model is compared with a reference: the model at the start of the training. For
a new adapter that is the base model, with the adapter turned off; for one that continues from an
earlier run, a frozen copy of itself.
"""

from __future__ import annotations

from typing import Any

from ftwizard.errors import FtwizardError
from ftwizard.plan.schema import Recipe
from ftwizard.rewards.reward import name_uniquely
from ftwizard.rewards.scoring import Scorer
from ftwizard.train import loss_head, prompt_rows
from ftwizard.train.objectives.preference import freeze_reference
from ftwizard.train.objectives.setup import Objective, TrainerSetup, shared_settings


def make_trainer(setup: TrainerSetup) -> Any:
    """Return TRL's GRPOTrainer with all prompts; each reward of the user's own gets its process."""
    from trl.trainer.grpo_config import GRPOConfig

    from ftwizard.train.objectives.reward_trainer import RewardFunction, RewardTrainer

    plan, ready = setup.plan, setup.ready
    rewards = plan.recipe.grpo.rewards
    tokenizer = ready.encoder.tokenizer
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    validation = ready.encoded["validation"]
    shared = shared_settings(
        plan, setup.folder, ready.total, setup.precision, GRPOConfig, validates=bool(validation)
    )
    settings = {
        **shared, **list_settings(plan.recipe), **loss_head.router_settings(setup.model),
        "log_completions": False, **setup.changes,
    }  # fmt: skip
    trainer = RewardTrainer(
        model=setup.model,
        args=GRPOConfig(**settings),
        reward_funcs=[
            RewardFunction(name, Scorer(reward), tokenizer)
            for name, reward in zip(name_uniquely(rewards), rewards, strict=True)
        ],
        train_dataset=ready.train,
        eval_dataset=prompt_rows.build_dataset(validation, ready.validation)
        if validation
        else None,
        processing_class=tokenizer,
        peft_config=setup.lora_config,
        callbacks=setup.callbacks,
    )
    trainer.set_end_tokens(ready.encoder.stop_ids)
    return trainer


def list_settings(recipe: Recipe) -> dict[str, Any]:
    """Return the settings of GRPO under TRL's names."""
    settings = recipe.grpo
    validated = settings.num_generations_eval or settings.num_generations
    return {
        "num_generations": settings.num_generations,
        "num_generations_eval": validated,
        # Evaluation batches hold whole groups.
        "per_device_eval_batch_size": validated * max(1, recipe.batch_size // validated),
        "max_completion_length": settings.max_completion_length,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "top_k": settings.top_k,
        "beta": settings.beta,
        "loss_type": settings.loss_type,
        "scale_rewards": settings.scale_rewards,
        "epsilon": settings.epsilon,
        "epsilon_high": settings.epsilon_high,
        "num_iterations": settings.num_iterations,
        "mask_truncated_completions": settings.mask_truncated_completions,
        "reward_weights": [reward.weight for reward in settings.rewards],
        # The probabilities of the answers are compared with those that they were sampled with.
        "disable_dropout": True,
        "remove_unused_columns": False,
    }


def verify(setup: TrainerSetup, trainer: Any) -> None:
    """Check that the trainer has exactly our prompts, and computes the right probabilities.

    Raises FtwizardError if it does not.
    """
    encoded = setup.ready.encoded["train"]
    tokens = trainer.train_dataset[prompt_rows.IDS]
    if [list(ids) for ids in tokens] != [row.input_ids for row in encoded]:
        raise FtwizardError(
            "The trainer changed the prompts.",
            "This is a bug in ftwizard with this version of TRL. Please report it.",
        )
    loss_head.verify_loss(trainer, encoded, setup.plan.recipe.grpo.temperature)


OBJECTIVE = Objective(make_trainer, verify, after_load=freeze_reference)
