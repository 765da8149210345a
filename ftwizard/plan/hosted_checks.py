"""Checks of plans for a hosted platform: bounds, and settings that do not belong to it."""

from __future__ import annotations

import datetime
import math
import operator
from collections.abc import Callable, Iterator

import msgspec

from ftwizard.catalog import hosted_models
from ftwizard.data import bundled_samples
from ftwizard.errors import FtwizardError
from ftwizard.plan.schema import (
    HostedProvider,
    OpenAI,
    Plan,
    Recipe,
    Samples,
    Together,
    Wandb,
    Where,
)
from ftwizard.strict_yaml import SettingsError

MAX_METADATA = 15
"""Pairs of notes on a job at OpenAI, which allows 16: one is ftwizard's own."""
RESERVED_METADATA = "ftwizard_run"
"""Key of ftwizard's own pair, by which a run finds its job."""
MAX_METADATA_KEY = 64
MAX_METADATA_VALUE = 512
MAX_SUFFIX: dict[HostedProvider, int] = {"openai": 64, "foundry": 64, "together": 40}
DEFAULT_PATIENCE = 2
DEFAULT_WARMUP_EVALS = 1
DEFAULT_EVALS = 10
"""What Together takes where ``early_stopping_patience`` and ``early_stopping_warmup_evals`` are not
set, and how many evaluations ftwizard asks for where ``n_evals`` is not."""
REINFORCEMENT = ("reasoning_effort", "compute_multiplier", "eval_interval", "eval_samples", "grader")  # fmt: skip
LORA = ("lora_r", "lora_alpha", "lora_dropout", "lora_trainable_modules")
_DPO = ("dpo_beta", "dpo_normalize_logratios_by_length", "rpo_alpha", "simpo_gamma")
EARLY_STOPPING = ("early_stopping_patience", "early_stopping_min_delta", "early_stopping_warmup_evals")  # fmt: skip
_OPENAI_NAMES = {
    "epochs": "n_epochs", "batch_size": "batch_size", "seed": "seed",
    "learning_rate": "learning_rate_multiplier",
}  # fmt: skip
_TOGETHER_NAMES = {
    "method": "lora", "rank": "lora_r", "alpha": "lora_alpha", "dropout": "lora_dropout",
    "target_modules": "lora_trainable_modules", "epochs": "n_epochs", "batch_size": "batch_size",
    "learning_rate": "learning_rate", "schedule": "lr_scheduler_type", "warmup": "warmup_ratio",
    "max_length": "max_seq_length", "packing": "packing", "weight_decay": "weight_decay",
    "max_grad_norm": "max_grad_norm", "evaluation_steps": "n_evals", "save_steps": "n_checkpoints",
    "patience": "early_stopping_patience", "seed": "random_seed",
}  # fmt: skip
_RECIPE_NAMES: dict[HostedProvider, dict[str, str]] = {
    "openai": _OPENAI_NAMES, "foundry": _OPENAI_NAMES, "together": _TOGETHER_NAMES,
}  # fmt: skip
"""Each platform's own name for a setting of ``recipe``."""
_Rules = tuple[tuple[str, Callable[[float], bool], str], ...]
_AT_LEAST_1 = (lambda value: 1 <= value < math.inf, "It must be at least 1.")
_ABOVE_0 = (lambda value: 0 < value < math.inf, "It must be above 0.")
_AT_LEAST_0 = (lambda value: 0 <= value < math.inf, "It must be at least 0.")
_RATIO = (lambda value: 0 <= value <= 1, "It must be 0 to 1.")
_OPENAI_RULES: _Rules = (
    ("n_epochs", lambda value: 1 <= value <= 50, "It must be 1 to 50, or auto."),
    ("batch_size", lambda value: 1 <= value <= 256, "It must be 1 to 256, or auto."),
    ("learning_rate_multiplier", _ABOVE_0[0], "It must be above 0, or auto."),
    (
        "compute_multiplier",
        lambda value: 1e-5 < value <= 10,
        "It must be above 0.00001 and at most 10, or auto.",
    ),
    ("beta", lambda value: 0 < value <= 2, "It must be above 0 and at most 2, or auto."),
    ("eval_interval eval_samples", _AT_LEAST_1[0], "It must be at least 1, or auto."),
    ("seed", lambda value: 0 <= value < 1 << 31, "It must be 0 to 2147483647."),
)
_TOGETHER_RULES: _Rules = (
    ("n_epochs n_checkpoints batch_size lora_r max_seq_length early_stopping_patience",
     *_AT_LEAST_1),
    ("gradient_accumulation_steps lora_alpha", *_AT_LEAST_1),
    ("learning_rate dpo_beta scheduler_num_cycles", *_ABOVE_0),
    ("rpo_alpha simpo_gamma", *_AT_LEAST_0),
    ("n_evals max_grad_norm weight_decay random_seed", *_AT_LEAST_0),
    ("early_stopping_min_delta early_stopping_warmup_evals", *_AT_LEAST_0),
    ("warmup_ratio min_lr_ratio", *_RATIO),
    ("lora_dropout", lambda value: 0 <= value < 1, "It must be at least 0 and below 1."),
)  # fmt: skip


def find_problems(plan: Plan, provider: HostedProvider) -> Iterator[SettingsError]:
    """Yield each problem of a plan whose provider is the platform ``provider``."""
    yield from _find_unused_settings(plan, provider)
    settings = plan.platform_settings
    for name, problem, hint in _find_platform_problems(settings):
        yield SettingsError(problem, hint, setting=f"{provider}.{name}")
    yield from _find_file_problems(plan, settings)
    yield from _find_model_problems(plan, provider)
    yield from _find_report_problems(plan, provider, settings.wandb)


def _find_unused_settings(plan: Plan, provider: HostedProvider) -> Iterator[SettingsError]:
    """Yield settings of local training; the hints name the platform's own."""
    platform = hosted_models.PLATFORM_NAMES[provider]
    for name in _list_changed(plan.recipe, Recipe()):
        own = _RECIPE_NAMES[provider].get(name)
        yield SettingsError(
            f"is set, but {platform} trains by its own settings.",
            f"Set {provider}.{own} instead."
            if own
            else f"Remove it: {platform} has no such setting.",
            setting=f"recipe.{name}",
        )
    for name in _list_changed(plan.where, Where()):
        yield SettingsError(
            f"is set, but {platform} chooses the hardware.", "Remove it.", setting=f"where.{name}"
        )
    for name in _list_changed(plan.samples, Samples()):
        yield SettingsError(
            f"is set, but {platform} shows no answers while it trains.",
            "Remove it. Base and tuned model are compared after training.",
            setting=f"samples.{name}",
        )
    for name in ("minutes", "hours"):
        if getattr(plan.budget, name) is not None:
            yield SettingsError(
                f"is set, but {platform} bills what it trains, not the time here.",
                "Set budget.usd: a job that would cost more is not started.",
                setting=f"budget.{name}",
            )
    if plan.model.revision is not None:
        yield SettingsError(
            f"is set, but models at {platform} have no revisions.",
            "Remove it.",
            setting="model.revision",
        )


def _list_changed(part: msgspec.Struct, default: msgspec.Struct) -> list[str]:
    """Return the settings of a group that differ from their defaults."""
    names = part.__struct_fields__
    return [name for name in names if getattr(part, name) != getattr(default, name)]


def _find_platform_problems(settings: OpenAI | Together) -> Iterator[tuple[str, str, str]]:
    """Yield the name of each setting that is wrong, what is wrong, and the fix."""
    is_openai = isinstance(settings, OpenAI)
    for names, is_valid, hint in _OPENAI_RULES if is_openai else _TOGETHER_RULES:
        for name in names.split():
            value = operator.attrgetter(name)(settings)
            if isinstance(value, int | float) and not is_valid(value):
                yield name, f"is {value:g}." if isinstance(value, float) else f"is {value}.", hint
    limit = MAX_SUFFIX["openai" if is_openai else "together"]
    if settings.suffix is not None and not 1 <= len(settings.suffix) <= limit:
        yield "suffix", f"has {len(settings.suffix)} characters.", f"It must have 1 to {limit}."
    if isinstance(settings, OpenAI):
        yield from _find_openai_problems(settings)
    else:
        yield from _find_together_problems(settings)


def _find_openai_problems(settings: OpenAI) -> Iterator[tuple[str, str, str]]:
    default = OpenAI()
    method = f"is set, but method is {settings.method}."
    for name in REINFORCEMENT:
        if settings.method != "reinforcement" and getattr(settings, name) != getattr(default, name):
            yield name, method, "Remove it, or set method to reinforcement."
    if settings.method != "dpo" and settings.beta != default.beta:
        yield "beta", method, "Remove it, or set method to dpo."
    if settings.method == "reinforcement" and not settings.grader:
        yield (
            "grader",
            "is missing: reinforcement needs one to score the answers.",
            "Write OpenAI's grader object (type, name, …), or name a JSON or YAML file with it.",
        )
    if len(settings.metadata) > MAX_METADATA:
        problem = f"has {len(settings.metadata)} pairs."
        yield "metadata", problem, f"Keep at most {MAX_METADATA}."
    for key, text in settings.metadata.items():
        if key == RESERVED_METADATA:
            yield "metadata", f"has the key {key}, which names the run.", "Remove it."
        if not 1 <= len(key) <= MAX_METADATA_KEY:
            problem = f"has a key of {len(key)} characters."
            yield "metadata", problem, f"It must have 1 to {MAX_METADATA_KEY}."
        if len(text) > MAX_METADATA_VALUE:
            problem = f"has a value of {len(text)} characters."
            yield "metadata", problem, f"It must have at most {MAX_METADATA_VALUE}."


def _find_together_problems(settings: Together) -> Iterator[tuple[str, str, str]]:
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


def _find_file_problems(plan: Plan, settings: OpenAI | Together) -> Iterator[SettingsError]:
    """Yield what the plan's data does not have."""
    mix = plan.data.mix
    if mix.share and mix.rows in bundled_samples.ROW_SETS and not plan.target.endswith("-sft"):
        yield SettingsError(
            "is set, but general rows are conversations, which this method does not train on.",
            "Remove data.mix, or name a file of rows for this method: data.mix.rows.",
            setting="data.mix.share",
        )
    if plan.has_validation:
        return
    hint = "Set data.split.validation to 0.1, or data.files.validation to a file."
    if isinstance(settings, OpenAI) and settings.method == "reinforcement":
        yield SettingsError(
            "is reinforcement, which needs validation data.",
            hint,
            setting=f"{plan.provider}.method",
        )
    if isinstance(settings, Together) and settings.early_stopping_enabled:
        problem = "is set, but there is no validation data."
        yield SettingsError(problem, hint, setting="together.early_stopping_enabled")
    if isinstance(settings, Together) and settings.n_evals:
        problem = f"is {settings.n_evals}, but there is no validation data."
        yield SettingsError(problem, hint, setting="together.n_evals")


def _find_model_problems(plan: Plan, provider: HostedProvider) -> Iterator[SettingsError]:
    """Yield why the model cannot be tuned, or its weights cannot be exported."""
    if not plan.model.name.strip():
        names = hosted_models.list_hosted_models("current")
        advised = next(model for model in names if model.platform == provider and model.recommended)
        hint = f"Name a model of the platform, such as {advised.api or advised.id}."
        yield SettingsError("is empty.", hint, setting="model.name")
    try:
        hosted_models.check_refused(plan.model.name, datetime.date.today())
    except FtwizardError as error:
        yield SettingsError(error.message, error.hint, setting="model.name")
    if not plan.finish.export:
        return
    platform = hosted_models.PLATFORM_NAMES[provider]
    weights = hosted_models.get_weights(plan.model.name, provider)
    if weights != "yes":
        offer = "does not offer" if weights == "no" else "is not known to offer"
        yield SettingsError(
            f"is set, but {platform} {offer} the weights of this model.",
            "Remove it, or train an open model at Together or on this machine.",
            setting="finish.export",
        )
    elif not plan.hosted.download:
        yield SettingsError(
            "is set, but hosted.download is false: exports are made from the weights.",
            "Set hosted.download to true, or remove finish.export.",
            setting="finish.export",
        )


def _find_report_problems(
    plan: Plan, provider: HostedProvider, wandb: Wandb
) -> Iterator[SettingsError]:
    platform = hosted_models.PLATFORM_NAMES[provider]
    for reporter in plan.report_to:
        if reporter != "wandb":
            yield SettingsError(
                f"names {reporter}, but {platform} sends metrics only to wandb.",
                f"Remove {reporter}: the run folder has all metrics that {platform} publishes.",
                setting="report_to",
            )
    if "wandb" not in plan.report_to and wandb.project is None and wandb != Wandb():
        yield SettingsError(
            "is set, but has no project: no metrics would be sent.",
            f"Name one: {provider}.wandb.project.",
            setting=f"{provider}.wandb",
        )
