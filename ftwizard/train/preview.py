"""What a plan comes to before it is trained: rows, tokens, steps, parameters; nothing is guessed.

The same functions read, split, mask and cut the rows as in the training itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.plan import Plan
from ftwizard.train import base_model, rows, schedule
from ftwizard.train.tokenise import Encoder, Report, encode_rows


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of one plan."""

    parts: dict[str, Report]
    """``train``, ``validation``, ``heldout`` → what becomes of the rows."""
    steps_per_epoch: int
    steps: int
    evaluate_every: int
    """Steps between two looks at the validation loss; 0 where nothing validates."""
    tokens: int
    """Tokens that pass through the model in training, all epochs."""
    parameters: int
    """Of the base model."""
    trained: int
    """Parameters that are trained."""


def preview(plan: Plan, base: Path, say: Callable[..., None]) -> Preview:
    """Count what ``plan`` comes to with the tokenizer and configuration in ``base``.

    Raises FtwizardError for rows or a model that cannot be used, as the training would.
    """
    parts = rows.load(plan, {})
    say("loading", what="libraries")
    from transformers import AutoTokenizer

    encoder = Encoder(AutoTokenizer.from_pretrained(base), base_model.stop_ids(base))
    recipe = plan.recipe
    reports: dict[str, Report] = {}
    for name, part in parts.items():

        def progress(done: int, total: int, name: str = name) -> None:
            say("tokenising", what=f"{name} rows", done=done, total=total, unit="rows")

        _, reports[name] = encode_rows(
            encoder, part, recipe.max_length, progress, needed=name != "heldout"
        )
    say("loading", what="the model's shape")
    parameters, trained = _parameters(plan, base)
    used = reports["train"].kept
    steps = schedule.total_steps(
        used, recipe.batch_size, recipe.gradient_accumulation, recipe.epochs
    )
    return Preview(
        parts=reports,
        steps_per_epoch=schedule.total_steps(
            used, recipe.batch_size, recipe.gradient_accumulation, 1
        ),
        steps=steps,
        evaluate_every=(
            (recipe.evaluation_steps or schedule.evaluation_steps(steps))
            if reports["validation"].kept
            else 0
        ),
        tokens=round(reports["train"].tokens * recipe.epochs),
        parameters=parameters,
        trained=trained,
    )


def _parameters(plan: Plan, base: Path) -> tuple[int, int]:
    """Return how many parameters the model has and how many are trained; no weight is loaded."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    base_model.refuse_quantised(base)
    with torch.device("meta"):
        auto: Any = AutoModelForCausalLM
        model = auto.from_config(AutoConfig.from_pretrained(base))
        total = sum(p.numel() for p in model.parameters())
        from peft import LoraConfig, get_peft_model

        recipe = plan.recipe
        base_model.check_targets(model, recipe.target_modules)
        settings = LoraConfig(
            r=recipe.rank, target_modules=list(recipe.target_modules), task_type="CAUSAL_LM"
        )
        tuned = get_peft_model(model, settings)
    return total, sum(p.numel() for p in tuned.parameters() if p.requires_grad)
