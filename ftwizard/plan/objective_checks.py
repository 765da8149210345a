"""Checks of a plan's training objective: its own settings, and others that do not go with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from ftwizard.data import bundled_samples
from ftwizard.errors import FtwizardError
from ftwizard.plan.schema import DPO, GRPO, KTO, Plan, Recipe
from ftwizard.rewards.packaged import check_options
from ftwizard.rewards.reward import MAX_REWARDS, Reward
from ftwizard.strict_yaml import SettingsError

OBJECTIVE_PARTS = {"dpo": DPO(), "kto": KTO(), "grpo": GRPO()}
"""Settings of each objective, with their defaults."""
_SMOOTHED = frozenset({"aot", "aot_unpaired", "exo_pair", "robust"})
"""Losses that use ``label_smoothing``. Source: ``DPOTrainer._compute_loss`` of TRL 1.16."""
_ROWS = {"dpo": "pairs", "kto": "labeled answers"}


def find_problems(plan: Plan) -> Iterator[SettingsError]:
    """Yield each problem of the objective of a plan of this machine."""
    recipe = plan.recipe
    for name, defaults in OBJECTIVE_PARTS.items():
        if recipe.objective != name and getattr(recipe, name) != defaults:
            yield SettingsError(
                f"is set, but recipe.objective is {recipe.objective}.",
                f"Set recipe.objective to {name}, or remove recipe.{name}.",
                setting=f"recipe.{name}",
            )
    if recipe.objective == "sft":
        return
    yield from _find_shared_problems(plan)
    if recipe.objective == "grpo":
        yield from _find_grpo_problems(plan)
        return
    yield from (
        _find_dpo_problems(recipe) if recipe.objective == "dpo" else _find_kto_problems(recipe)
    )


def takes_mix(plan: Plan) -> bool:
    """Return whether the objective can train on the general rows of ``data.mix``, if there are any."""
    objective, mix = plan.recipe.objective, plan.data.mix
    if not mix.share or objective == "sft":
        return True
    return objective != "grpo" and mix.rows not in bundled_samples.ROW_SETS


def _find_shared_problems(plan: Plan) -> Iterator[SettingsError]:
    recipe = plan.recipe
    if recipe.packing:
        yield SettingsError(
            f"is set, but recipe.objective is {recipe.objective}: TRL packs only supervised rows.",
            "Remove recipe.packing.",
            setting="recipe.packing",
        )
    if recipe.padding_free:
        yield SettingsError(
            f"is set, but recipe.objective is {recipe.objective}: only supervised rows are laid end to "
            "end.",
            "Remove recipe.padding_free.",
            setting="recipe.padding_free",
        )
    if recipe.objective == "grpo":
        if not takes_mix(plan):
            yield SettingsError(
                "is set, but recipe.objective is grpo: general rows have no reward.",
                "Remove data.mix.",
                setting="data.mix.share",
            )
        return
    if not takes_mix(plan):
        yield SettingsError(
            f"is set, but the general rows are conversations, not {_ROWS[recipe.objective]}.",
            f"Set data.mix.rows to a file of {_ROWS[recipe.objective]}, or remove data.mix.",
            setting="data.mix.share",
        )
    settings = f"recipe.{recipe.objective}"
    beta = getattr(recipe, recipe.objective).beta
    if not 0 < beta < math.inf:
        yield SettingsError(f"is {beta:g}.", "It must be above 0.", setting=f"{settings}.beta")


def _find_dpo_problems(recipe: Recipe) -> Iterator[SettingsError]:
    settings = recipe.dpo
    losses = [settings.loss_type] if isinstance(settings.loss_type, str) else settings.loss_type
    if not losses:
        yield SettingsError("is empty.", "Name a loss: sigmoid.", setting="recipe.dpo.loss_type")
    weights = settings.loss_weights
    if weights is not None and len(weights) != len(losses):
        yield SettingsError(
            f"has {len(weights)} numbers for {len(losses)} losses.",
            "Write one for each of recipe.dpo.loss_type.",
            setting="recipe.dpo.loss_weights",
        )
    if weights is not None and not all(0 <= weight < math.inf for weight in weights):
        yield SettingsError(
            "has a weight below 0.", "Weights are 0 or more.", setting="recipe.dpo.loss_weights"
        )
    smoothing = settings.label_smoothing
    if not 0 <= smoothing < 0.5:
        yield SettingsError(
            f"is {smoothing:g}.",
            "It must be at least 0 and below 0.5.",
            setting="recipe.dpo.label_smoothing",
        )
    if "exo_pair" in losses and not smoothing:
        yield SettingsError(
            "is 0, which exo_pair cannot use.",
            "Set it to 0.001, as its paper does.",
            setting="recipe.dpo.label_smoothing",
        )
    if smoothing and not _SMOOTHED.intersection(losses):
        yield SettingsError(
            f"is set, but only the losses {', '.join(sorted(_SMOOTHED))} use it.",
            "Set recipe.dpo.loss_type to robust, or remove it.",
            setting="recipe.dpo.label_smoothing",
        )


def _find_kto_problems(recipe: Recipe) -> Iterator[SettingsError]:
    settings = recipe.kto
    for name in ("desirable_weight", "undesirable_weight"):
        weight = getattr(settings, name)
        if not 0 < weight < math.inf:
            yield SettingsError(
                f"is {weight:g}.", "It must be above 0.", setting=f"recipe.kto.{name}"
            )
    if settings.loss_type == "kto" and recipe.batch_size < 2:
        yield SettingsError(
            "is 1. The loss kto compares each answer with the others of its batch.",
            "Set it to 2 or more, or recipe.kto.loss_type to apo_zero_unpaired.",
            setting="recipe.batch_size",
        )


_GRPO_RULES: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    ("num_generations", lambda value: 2 <= value <= 1024,
     "A group needs 2 answers or more: rewards are compared within it."),
    ("num_generations_eval num_iterations", lambda value: 1 <= value <= 1024, "It must be at least 1."),
    ("max_completion_length", lambda value: 1 <= value <= 10**6, "It must be at least 1."),
    ("temperature", lambda value: 0 < value <= 10, "It must be above 0: the answers must differ."),
    ("top_p", lambda value: 0 < value <= 1, "It must be above 0 and at most 1."),
    ("top_k", lambda value: value >= 0, "It must be at least 0; 0: all tokens."),
    ("beta", lambda value: 0 <= value < math.inf, "It must be at least 0; 0: no penalty."),
    ("epsilon epsilon_high", lambda value: 0 < value < math.inf, "It must be above 0: 0.2."),
)  # fmt: skip
"""Settings of ``recipe.grpo``, what their values must be where they are set, and the fix."""


def fill_groups(recipe: Recipe, ranks: int) -> int:
    """Return the accumulation nearest to the recipe's with which a step has whole groups of answers.

    ``ranks``: processes that train together, each on ``batch_size`` answers in a pass.
    """
    each_pass, group = max(1, recipe.batch_size) * ranks, max(1, recipe.grpo.num_generations)
    fewest = math.lcm(each_pass, group) // each_pass
    return max(1, round(recipe.gradient_accumulation / fewest)) * fewest


def _find_grpo_problems(plan: Plan) -> Iterator[SettingsError]:
    recipe, settings = plan.recipe, plan.recipe.grpo
    for names, is_valid, hint in _GRPO_RULES:
        for name in names.split():
            value = getattr(settings, name)
            if value is not None and not is_valid(value):
                yield SettingsError(f"is {value:g}.", hint, setting=f"recipe.grpo.{name}")
    group, each_pass = settings.num_generations, recipe.batch_size * plan.ranks
    answers = each_pass * recipe.gradient_accumulation
    if group >= 2 and answers % group:
        factors = "batch_size × gradient_accumulation"
        if plan.ranks > 1:
            factors += f" × {plan.ranks} processes"
        yield SettingsError(
            f"is {group}, but a step has {answers} answers ({factors}).",
            f"Set recipe.gradient_accumulation to {fill_groups(recipe, plan.ranks)}.",
            setting="recipe.grpo.num_generations",
        )
    if "{answer}" not in settings.answer_template:
        yield SettingsError(
            "does not contain {answer}.",
            "Write it around {answer}: '<answer>{answer}</answer>'.",
            setting="recipe.grpo.answer_template",
        )
    yield from _find_reward_problems(settings.rewards)


def _find_reward_problems(rewards: Sequence[Reward]) -> Iterator[SettingsError]:
    setting = "recipe.grpo.rewards"
    if not 1 <= len(rewards) <= MAX_REWARDS:
        yield SettingsError(
            f"has {len(rewards)} reward functions.",
            f"Name 1 to {MAX_REWARDS}: [{{function: numeric_answer}}]. See docs/rewards.md.",
            setting=setting,
        )
    for reward in rewards:
        shown = reward.shown
        if not math.isfinite(reward.weight) or reward.weight == 0:
            yield SettingsError(
                f"gives {shown} the weight {reward.weight:g}.", "Set it to 1.", setting=setting
            )
        if not 0 < reward.time_limit_s <= 3600:
            yield SettingsError(
                f"gives {shown} a time_limit_s of {reward.time_limit_s:g}.",
                "It must be above 0 and at most 3600.", setting=setting,
            )  # fmt: skip
        if not 0.1 <= reward.memory_gb <= 1000:
            yield SettingsError(
                f"gives {shown} a memory_gb of {reward.memory_gb:g}.",
                "It must be 0.1 to 1000.", setting=setting,
            )  # fmt: skip
        if reward.file is not None and reward.options:
            yield SettingsError(
                f"gives {shown} options, but only packaged functions have any.",
                "Write them into the function.", setting=setting,
            )  # fmt: skip
        if reward.file is None:
            try:
                check_options(reward.name, reward.options)
            except FtwizardError as error:
                yield SettingsError(f"cannot be used. {error.message}", error.hint, setting=setting)
