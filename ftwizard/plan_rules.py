"""What in a plan contradicts itself: each problem with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftwizard.plan import Plan, Recipe


def contradictions(plan: Plan) -> list[tuple[str, str]]:
    """Return each problem of the plan and what to do about it."""
    return [*_split_problems(plan), *_recipe_problems(plan.recipe), *_other_problems(plan)]


def _split_problems(plan: Plan) -> Iterator[tuple[str, str]]:
    files, split = plan.data.files, plan.data.split
    for part in ("validation", "heldout"):
        share = getattr(split, part)
        if getattr(files, part) and share:
            yield (
                f"Both data.files.{part} and data.split.{part} are given.",
                "Keep one: a file of its own, or a share of the training file.",
            )
        if share is not None and not 0 <= share <= 0.5:
            yield (
                f"data.split.{part} is {share:g}; it is a share between 0 and 0.5.",
                "Use 0.1 for one row in ten.",
            )
    if plan.validation_share + plan.heldout_share > 0.6:
        yield "The splits leave too little to train on.", "Lower data.split."


def _recipe_problems(recipe: Recipe) -> Iterator[tuple[str, str]]:
    for name, low in (
        ("rank", 1), ("alpha", 1), ("batch_size", 1), ("gradient_accumulation", 1),
        ("max_length", 8), ("patience", 1), ("seed", 0), ("evaluation_steps", 1), ("save_steps", 1),
    ):  # fmt: skip
        value = getattr(recipe, name)
        if value is not None and value < low:
            yield f"recipe.{name} is {value}.", f"It is at least {low}."
    for name, high in (("epochs", 100.0), ("learning_rate", 1.0), ("max_grad_norm", 1e9)):
        value = getattr(recipe, name)
        if value is not None and not 0 < value <= high:
            yield f"recipe.{name} is {value:g}.", f"It is above 0, at most {high:g}."
    for name in ("dropout", "warmup", "weight_decay"):
        value = getattr(recipe, name)
        if not 0 <= value < 1:
            yield f"recipe.{name} is {value:g}.", "It is a share, from 0 to below 1."
    targets = recipe.target_modules
    if targets is not None and not targets:
        yield "recipe.target_modules is empty.", "Name at least one, or leave it out."
    if targets and recipe.method == "full":
        yield (
            "recipe.target_modules is given, but a full fine-tune trains all weights.",
            "Leave it out, or set recipe.method to lora.",
        )
    if "lm_head" in (targets or ()):
        yield (
            "recipe.target_modules names lm_head, whose adapter TRL would never train.",
            "Leave lm_head out.",
        )


def _other_problems(plan: Plan) -> Iterator[tuple[str, str]]:
    if plan.budget.hours is not None and not plan.budget.hours > 0:
        yield f"budget.hours is {plan.budget.hours:g}.", "Leave it out for no limit."
    if plan.finish.pairs < 0 or (plan.finish.max_new_tokens or 1) < 1:
        yield "finish.pairs or finish.max_new_tokens is too small.", "Use 5 and 256."
    names = [plan.data.files.train, plan.data.files.validation, plan.data.files.heldout]
    if any("\0" in name for name in (*filter(None, names), plan.model.name)):
        yield "A file name holds a NUL character.", "No file can be called so."
    if plan.where.gpu is not None and plan.where.gpu < 0:
        yield f"where.gpu is {plan.where.gpu}.", "GPUs are numbered from 0."
    if not plan.model.name.strip():
        yield "model.name is empty.", "Name a folder or an id on the Hugging Face Hub."
