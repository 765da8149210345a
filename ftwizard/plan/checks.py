"""Checks across the settings of a plan, each with what to do about it."""

from __future__ import annotations

import math
import typing
from collections.abc import Container, Iterator

from ftwizard.errors import DECLINED, USAGE, FtwizardError
from ftwizard.plan.schema import MANY_EPOCHS, Plan, Recipe, RiskName, Samples
from ftwizard.strict_yaml import SettingsError
from ftwizard.text import make_visible

MAX_SAMPLES = 20
MAX_SAMPLE_TOKENS = 1024


def check_plan(plan: Plan, deferred: Container[RiskName] = ()) -> None:
    """Check fields against each other; raise SettingsError, or FtwizardError for a risk not allowed.

    ``deferred``: risks that the caller checks, because they depend on earlier runs.
    """
    for problem, hint in find_contradictions(plan):
        raise SettingsError(problem, hint)
    if not plan.has_validation and "no-validation" not in deferred:
        _require_allowed(
            plan,
            "no-validation",
            "Without validation data, overfitting goes unnoticed.",
            "Set data.split.validation to 0.1, or data.files.validation to a file.",
        )
    if "many-epochs" not in deferred:
        check_epochs(plan)


def check_epochs(plan: Plan, earlier: str = "") -> None:
    """Raise FtwizardError for more than ``MANY_EPOCHS`` that the plan does not allow.

    ``earlier``: a sentence on why an earlier run does not support more epochs.
    """
    if plan.recipe.epochs > MANY_EPOCHS:
        _require_allowed(
            plan,
            "many-epochs",
            f"{plan.recipe.epochs:g} epochs usually lead to memorization.",
            earlier or f"Start with {MANY_EPOCHS} and check the validation loss.",
        )


def parse_risk(name: str) -> RiskName:
    """Return the risk called ``name``; raise FtwizardError for an unknown name."""
    risks: dict[str, RiskName] = {risk: risk for risk in typing.get_args(RiskName)}
    if name not in risks:
        raise FtwizardError(
            f"Unknown risk “{make_visible(name, 60)}”.", f"Choose from: {', '.join(risks)}.", USAGE
        )
    return risks[name]


def _require_allowed(plan: Plan, name: RiskName, problem: str, hint: str) -> None:
    if name not in plan.allow:
        raise FtwizardError(problem, f"{hint} Or pass --allow {name}.", DECLINED)


def find_contradictions(plan: Plan) -> list[tuple[str, str]]:
    """Return each problem in the plan and its fix."""
    return [
        *_split_problems(plan),
        *_mix_problems(plan),
        *_recipe_problems(plan.recipe),
        *_sample_problems(plan.samples),
        *_other_problems(plan),
    ]


def _split_problems(plan: Plan) -> Iterator[tuple[str, str]]:
    files, split = plan.data.files, plan.data.split
    for part in ("validation", "test"):
        share = getattr(split, part)
        if getattr(files, part) and share:
            yield (
                f"Both data.files.{part} and data.split.{part} are set.",
                "Keep one: a separate file, or a share of the training file.",
            )
        if share is not None and not 0 <= share <= 0.5:
            yield (
                f"data.split.{part} is {share:g}; it must be 0 to 0.5.",
                "Use 0.1 for 10% of the rows.",
            )
    if plan.validation_share + plan.test_share > 0.6:
        yield "The split leaves too little to train on.", "Lower the shares in data.split."


def _mix_problems(plan: Plan) -> Iterator[tuple[str, str]]:
    mix, files = plan.data.mix, plan.data.files
    if not 0 <= mix.share <= 0.5:
        yield (
            f"data.mix.share is {mix.share:g}; it must be 0 to 0.5.",
            "Use 0.05 for 5% general rows.",
        )
    if mix.rows != "general" and not mix.share:
        yield (
            "data.mix.rows is set, but data.mix.share is 0: nothing would be mixed in.",
            "Set data.mix.share to 0.05, or remove data.mix.",
        )
    for part in ("train", "validation", "test"):
        if getattr(files, part) == mix.rows:
            yield (
                f"data.mix.rows is the same file as data.files.{part}.",
                "Name a different file, or general.",
            )


def _recipe_problems(recipe: Recipe) -> Iterator[tuple[str, str]]:
    for name, low in (
        ("rank", 1), ("alpha", 1), ("batch_size", 1), ("gradient_accumulation", 1),
        ("max_length", 8), ("patience", 1), ("seed", 0), ("evaluation_steps", 1), ("save_steps", 1),
    ):  # fmt: skip
        value = getattr(recipe, name)
        if value is not None and value < low:
            yield f"recipe.{name} is {value}.", f"It must be at least {low}."
    for name, high in (("epochs", 100.0), ("learning_rate", 1.0), ("max_grad_norm", 1e9)):
        value = getattr(recipe, name)
        if value is not None and not 0 < value <= high:
            yield f"recipe.{name} is {value:g}.", f"It must be above 0 and at most {high:g}."
    for name in ("dropout", "warmup", "weight_decay"):
        value = getattr(recipe, name)
        if not 0 <= value < 1:
            yield f"recipe.{name} is {value:g}.", "It must be at least 0 and below 1."
    targets = recipe.target_modules
    if targets is not None and not targets:
        yield "recipe.target_modules is empty.", "Name at least one module, or remove it."
    if targets and recipe.method == "full":
        yield (
            "recipe.target_modules is set, but a full fine-tune trains all weights.",
            "Remove it, or set recipe.method to lora.",
        )
    if "lm_head" in (targets or ()):
        yield (
            "recipe.target_modules names lm_head, whose adapter TRL never trains.",
            "Remove lm_head.",
        )


def _sample_problems(samples: Samples) -> Iterator[tuple[str, str]]:
    if not 0 <= samples.count <= MAX_SAMPLES:
        yield (
            f"samples.count is {samples.count}.",
            f"It must be 0 to {MAX_SAMPLES}; 0: no samples.",
        )
    if not 1 <= samples.max_tokens <= MAX_SAMPLE_TOKENS:
        yield (
            f"samples.max_tokens is {samples.max_tokens}.",
            f"It must be 1 to {MAX_SAMPLE_TOKENS}; training waits for the answers.",
        )
    if isinstance(samples.prompts, tuple):
        if not samples.prompts:
            yield "samples.prompts is empty.", "Write one prompt, or remove it."
        if len(samples.prompts) > MAX_SAMPLES:
            yield (
                f"samples.prompts has {len(samples.prompts)} prompts.",
                f"Keep at most {MAX_SAMPLES}: each is answered at every evaluation.",
            )
        if not all(map(str.strip, samples.prompts)):
            yield "samples.prompts has an empty prompt.", "Write it, or remove it."
    elif samples.prompts is not None:
        if "\0" in samples.prompts:
            yield "samples.prompts has a NUL character.", "A file name cannot have one."
        if not samples.prompts.strip():
            yield "samples.prompts names no file.", "Name one, or remove it."


def _other_problems(plan: Plan) -> Iterator[tuple[str, str]]:
    if plan.budget.hours is not None and not plan.budget.hours > 0:
        yield f"budget.hours is {plan.budget.hours:g}.", "Remove it for no limit."
    if plan.budget.usd is not None and not 0 < plan.budget.usd < math.inf:
        yield f"budget.usd is {plan.budget.usd:g}.", "Remove it for no limit."
    if plan.finish.pairs < 0 or (plan.finish.max_new_tokens or 1) < 1:
        yield "finish.pairs or finish.max_new_tokens is too small.", "Use 5 and 256."
    files = plan.data.files
    names = [files.train, files.validation, files.test, plan.data.mix.rows]
    if any("\0" in name for name in (*filter(None, names), plan.model.name)):
        yield "A file name has a NUL character.", "Remove it."
    if plan.where.gpu is not None and plan.where.gpu < 0:
        yield f"where.gpu is {plan.where.gpu}.", "GPUs are numbered from 0."
    if not plan.model.name.strip():
        yield "model.name is empty.", "Name a folder, or a model on the Hugging Face Hub."
