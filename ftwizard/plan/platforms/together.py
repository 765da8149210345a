"""Checks of the settings of Together."""

from __future__ import annotations

from collections.abc import Iterator

from ftwizard.plan.platforms.rules import (
    ABOVE_0,
    AT_LEAST_0,
    AT_LEAST_1,
    RATIO,
    VALIDATION_HINT,
    PlatformChecks,
    Problem,
    Rules,
)
from ftwizard.plan.schema import Plan, Together

MAX_SUFFIX = 40
DEFAULT_PATIENCE = 2
DEFAULT_WARMUP_EVALS = 1
DEFAULT_EVALS = 10
"""What Together takes where ``early_stopping_patience`` and ``early_stopping_warmup_evals`` are not
set, and how many evaluations ftwizard asks for where ``n_evals`` is not."""
LORA = ("lora_r", "lora_alpha", "lora_dropout", "lora_trainable_modules")
_DPO = ("dpo_beta", "dpo_normalize_logratios_by_length", "rpo_alpha", "simpo_gamma")
EARLY_STOPPING = ("early_stopping_patience", "early_stopping_min_delta", "early_stopping_warmup_evals")  # fmt: skip
_RECIPE_NAMES = {
    "method": "lora", "rank": "lora_r", "alpha": "lora_alpha", "dropout": "lora_dropout",
    "target_modules": "lora_trainable_modules", "epochs": "n_epochs", "batch_size": "batch_size",
    "learning_rate": "learning_rate", "schedule": "lr_scheduler_type", "warmup": "warmup_ratio",
    "max_length": "max_seq_length", "packing": "packing", "weight_decay": "weight_decay",
    "max_grad_norm": "max_grad_norm", "evaluation_steps": "n_evals", "save_steps": "n_checkpoints",
    "patience": "early_stopping_patience", "seed": "random_seed",
}  # fmt: skip
_RULES: Rules = (
    ("n_epochs n_checkpoints batch_size lora_r max_seq_length early_stopping_patience",
     *AT_LEAST_1),
    ("gradient_accumulation_steps lora_alpha", *AT_LEAST_1),
    ("learning_rate dpo_beta scheduler_num_cycles", *ABOVE_0),
    ("rpo_alpha simpo_gamma", *AT_LEAST_0),
    ("n_evals max_grad_norm weight_decay random_seed", *AT_LEAST_0),
    ("early_stopping_min_delta early_stopping_warmup_evals", *AT_LEAST_0),
    ("warmup_ratio min_lr_ratio", *RATIO),
    ("lora_dropout", lambda value: 0 <= value < 1, "It must be at least 0 and below 1."),
)  # fmt: skip


def _find_problems(settings: Together) -> Iterator[Problem]:
    default = Together()
    for name in _DPO:
        if settings.training_method != "dpo" and getattr(settings, name) != getattr(default, name):
            problem = f"is set, but training_method is {settings.training_method}."
            yield name, problem, "Remove it, or set training_method to dpo."
    if settings.training_method == "dpo" and settings.train_on_inputs != "auto":
        yield (
            "train_on_inputs",
            "is set, but training_method is dpo.",
            "Remove it: preferences compare answers only.",
        )
    for name in LORA:
        if not settings.lora and getattr(settings, name) != getattr(default, name):
            hint = "Remove it, or set lora to true."
            yield name, "is set, but lora is false: all weights are trained.", hint
    for name in EARLY_STOPPING:
        if not settings.early_stopping_enabled and getattr(settings, name) is not None:
            hint = "Remove it, or set early_stopping_enabled to true."
            yield name, "is set, but early_stopping_enabled is false.", hint
    if settings.early_stopping_enabled:
        needed = count_needed_evaluations(settings)
        evaluations = DEFAULT_EVALS if settings.n_evals is None else settings.n_evals
        if evaluations < needed:
            yield (
                "n_evals",
                f"is {evaluations}: too few for early stopping.",
                f"It must be at least {needed}: patience, warmup evaluations, and one more.",
            )


def count_needed_evaluations(settings: Together) -> int:
    """Return how many evaluations Together's early stopping needs at least."""
    patience, warmup = settings.early_stopping_patience, settings.early_stopping_warmup_evals
    patience = DEFAULT_PATIENCE if patience is None else patience
    return patience + (DEFAULT_WARMUP_EVALS if warmup is None else warmup) + 1


def _find_file_problems(plan: Plan, settings: Together) -> Iterator[Problem]:
    if plan.has_validation:
        return
    problem = "but there is no validation data."
    if settings.early_stopping_enabled:
        yield "early_stopping_enabled", f"is set, {problem}", VALIDATION_HINT
    if settings.n_evals:
        yield "n_evals", f"is {settings.n_evals}, {problem}", VALIDATION_HINT


def _list_unused(plan: Plan, settings: Together) -> list[str]:
    unused = ["train_on_inputs" if settings.training_method == "dpo" else "dpo_beta"]
    unused += [] if settings.lora else LORA
    return unused + ([] if settings.early_stopping_enabled else [*EARLY_STOPPING])


CHECKS = PlatformChecks(
    rules=_RULES, recipe_names=_RECIPE_NAMES, max_suffix=MAX_SUFFIX, list_unused=_list_unused,
    find_problems=_find_problems, find_file_problems=_find_file_problems,
)  # fmt: skip
