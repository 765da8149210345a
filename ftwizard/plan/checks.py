"""Checks across the settings of a plan, each with what to do about it."""

from __future__ import annotations

import math
import operator
import typing
from collections.abc import Callable, Container, Iterator

from ftwizard.data.io import encodings
from ftwizard.data.mapping import column_map
from ftwizard.data.split import MIN_TRAIN_ROWS
from ftwizard.errors import DECLINED, USAGE, FtwizardError
from ftwizard.plan import export_forms, objective_checks, slurm_checks
from ftwizard.plan.schema import (
    HOSTED_PROVIDERS,
    MANY_EPOCHS,
    Evaluate,
    Hosted,
    Plan,
    Recipe,
    RiskName,
)
from ftwizard.rewards.recognized_answers import GRADED, NAMES
from ftwizard.rewards.reward import Reward
from ftwizard.strict_yaml import SettingsError
from ftwizard.text import make_visible

MAX_PROCESSES = 64
MAX_SAMPLES = 20
MAX_SAMPLE_TOKENS = 1024


def check_plan(plan: Plan, deferred: Container[RiskName] = ()) -> None:
    """Check fields against each other; raise SettingsError, or FtwizardError for a risk not allowed.

    ``deferred``: risks that the caller checks, because they depend on earlier runs.
    """
    for error in find_problems(plan):
        raise error
    needs_validation = plan.takes_validation and "no-validation" not in deferred
    if needs_validation and not plan.has_validation:
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
    epochs = plan.platform_settings.epochs if plan.is_hosted else plan.recipe.epochs
    if epochs != "auto" and epochs > MANY_EPOCHS:
        _require_allowed(
            plan,
            "many-epochs",
            f"{epochs:g} epochs usually lead to memorization.",
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


def find_problems(plan: Plan) -> Iterator[SettingsError]:
    """Yield each problem in the plan."""
    for settings, is_valid, hint in _RULES:
        for setting in settings.split():
            value = operator.attrgetter(setting)(plan)
            if value is not None and not is_valid(value):
                shown = f"{value:g}" if isinstance(value, float) else value
                yield SettingsError(f"is {shown}.", hint, setting=setting)
    yield from _find_data_problems(plan)
    if plan.budget.minutes is not None and plan.budget.hours is not None:
        yield SettingsError(
            "Both budget.minutes and budget.hours are set.",
            "Keep one: minutes, in which the run finishes with its results, or hours, after which "
            "it stops and can be resumed.",
        )
    yield from _find_rank_problems(plan)
    yield from _find_foreign_settings(plan)
    if plan.provider != "local":
        from ftwizard.plan import hosted_checks  # loads the tables of models

        yield from hosted_checks.find_problems(plan, plan.provider)
    yield from slurm_checks.find_problems(plan)
    yield from _find_target_problems(plan.recipe)
    if not plan.is_hosted:
        yield from objective_checks.find_problems(plan)
    yield from _find_export_problems(plan)
    yield from _find_prompt_problems(plan.samples.prompts)
    yield from _find_evaluation_problems(plan.evaluate)
    yield from _find_scorer_problems(plan)
    names = [plan.data.files.train, plan.data.files.validation, plan.data.files.test]
    names += [plan.data.mix.rows, plan.model.name, *plan.evaluate.sets]
    if any("\0" in name for name in filter(None, names)):
        yield SettingsError("A file name has a NUL character.", "Remove it.")
    if not plan.is_hosted and not plan.model.name.strip():
        hint = "Name a folder, or a model on the Hugging Face Hub."
        yield SettingsError("is empty.", hint, setting="model.name")


_RULES: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    ("data.split.validation data.split.test", lambda value: 0 <= value <= 0.5,
     "It must be 0 to 0.5: 0.1 for 10% of the rows."),
    ("data.mix.share", lambda value: 0 <= value <= 0.5,
     "It must be 0 to 0.5: 0.05 for 5% general rows."),
    ("recipe.rank recipe.alpha recipe.batch_size recipe.gradient_accumulation recipe.patience",
     lambda value: value >= 1, "It must be at least 1."),
    ("recipe.evaluation_steps recipe.save_steps recipe.max_steps finish.max_new_tokens",
     lambda value: value >= 1, "It must be at least 1."),
    ("gate.gain gate.max_general_loss gate.max_safety_loss", lambda value: 0 <= value < 1,
     "It must be at least 0 and below 1: 0.05 for 5 points of 100."),
    ("evaluate.max_items", lambda value: value >= 1, "It must be at least 1."),
    ("recipe.max_length", lambda value: value >= 8, "It must be at least 8."),
    ("recipe.seed finish.pairs evaluate.shots", lambda value: value >= 0, "It must be at least 0."),
    ("recipe.epochs", lambda value: 0 < value <= 100, "It must be above 0 and at most 100."),
    ("recipe.learning_rate", lambda value: 0 < value <= 1, "It must be above 0 and at most 1."),
    ("recipe.max_grad_norm", lambda value: 0 < value <= 1e9,
     "It must be above 0 and at most 1e+09."),
    ("recipe.dropout recipe.warmup recipe.weight_decay", lambda value: 0 <= value < 1,
     "It must be at least 0 and below 1."),
    ("samples.count", lambda value: 0 <= value <= MAX_SAMPLES,
     f"It must be 0 to {MAX_SAMPLES}; 0: no samples."),
    ("samples.max_tokens", lambda value: 1 <= value <= MAX_SAMPLE_TOKENS,
     f"It must be 1 to {MAX_SAMPLE_TOKENS}; training waits for the answers."),
    ("data.max_rows", lambda value: value >= MIN_TRAIN_ROWS,
     f"It must be at least {MIN_TRAIN_ROWS}. Remove it to train on all rows."),
    ("budget.minutes budget.hours budget.usd", lambda value: 0 < value < math.inf, "Remove it for no limit."),
    ("where.gpu", lambda value: value >= 0, "GPUs are numbered from 0."),
    ("where.processes", lambda value: 1 <= value <= MAX_PROCESSES,
     f"It must be 1 to {MAX_PROCESSES}: one per GPU of a machine."),
)  # fmt: skip
"""Settings, what their values must be where they are set, and the fix."""


def _find_rank_problems(plan: Plan) -> Iterator[SettingsError]:
    """Yield settings that contradict each other where several processes train together."""
    if plan.where.processes > 1 and plan.where.gpu is not None:
        yield SettingsError(
            f"is set, but where.processes is {plan.where.processes}: each process takes a GPU.",
            "Remove it. To choose GPUs: CUDA_VISIBLE_DEVICES=0,1 ftwizard train plan.yaml",
            setting="where.gpu",
        )
    if plan.where.scheduler == "slurm" and 0 < plan.slurm.gpus < plan.where.processes:
        yield SettingsError(
            f"is {plan.where.processes}, but slurm.gpus is {plan.slurm.gpus}.",
            "Set both to the same number.",
            setting="where.processes",
        )
    if plan.ranks == 1 and plan.where.parallel != "auto":
        yield SettingsError(
            f"is {plan.where.parallel}, but where.processes is 1.",
            "Set where.processes to the number of GPUs, or remove it.",
            setting="where.parallel",
        )
    yield from _find_sharding_problems(plan)


def _find_sharding_problems(plan: Plan) -> Iterator[SettingsError]:
    """Yield settings with which sharded training was never verified."""
    if plan.where.parallel != "fsdp":
        return
    for setting, value, supported in (
        ("recipe.objective", plan.recipe.objective, ("sft",)),
        ("recipe.precision", plan.recipe.precision, ("auto", "bf16", "fp32")),
    ):
        if value not in supported:
            yield SettingsError(
                f"is fsdp, which does not support {setting} {value}.",
                f"Set where.parallel to ddp, or {setting} to {supported[0]}.",
                setting="where.parallel",
            )


def _find_foreign_settings(plan: Plan) -> Iterator[SettingsError]:
    """Yield the groups that belong to another provider than the plan's."""
    for name, group in HOSTED_PROVIDERS.items():
        if name != plan.provider and getattr(plan, name) != group():
            yield SettingsError(
                f"is set, but provider is {plan.provider}.",
                f"Remove it, or set provider: {name}.",
                setting=name,
            )
    if not plan.is_hosted and plan.hosted != Hosted():
        names = " or ".join(HOSTED_PROVIDERS)
        yield SettingsError(
            "is set, but provider is local.",
            f"Remove it, or set provider to {names}.",
            setting="hosted",
        )


def _find_export_problems(plan: Plan) -> Iterator[SettingsError]:
    for form in plan.finish.export:
        try:
            export_forms.parse(form)
        except FtwizardError as error:
            yield SettingsError(f"finish.export: {error.message}", error.hint)
    has_adapter = plan.together.lora if plan.is_hosted else plan.recipe.method != "full"
    if plan.finish.export and not plan.finish.merge and has_adapter:
        yield SettingsError(
            "is set, but finish.merge is false: exports are made from the merged model.",
            "Set finish.merge to true, or remove finish.export.",
            setting="finish.export",
        )


def _find_data_problems(plan: Plan) -> Iterator[SettingsError]:
    files, split, mix = plan.data.files, plan.data.split, plan.data.mix
    for problem in column_map.list_problems(plan.data.columns):
        hint = "Name the columns: {prompt: question_text, completion: gold_reply}."
        yield SettingsError(f"data.columns: {problem}.", hint)
    if plan.data.encoding:
        try:
            encodings.find_codec(plan.data.encoding)
        except FtwizardError as error:
            yield SettingsError(f"data.encoding: {error.message}", error.hint)
    for part in ("validation", "test"):
        if getattr(files, part) and getattr(split, part):
            yield SettingsError(
                f"Both data.files.{part} and data.split.{part} are set.",
                "Keep one: a separate file, or a share of the training file.",
            )
    if plan.validation_share + plan.test_share > 0.6:
        yield SettingsError(
            "The split leaves too little to train on.", "Lower the shares in data.split."
        )
    if mix.rows != "general" and not mix.share:
        yield SettingsError(
            "is set, but data.mix.share is 0: nothing would be mixed in.",
            "Set data.mix.share to 0.05, or remove data.mix.",
            setting="data.mix.rows",
        )
    for part in ("train", "validation", "test"):
        if getattr(files, part) == mix.rows:
            yield SettingsError(
                f"is the same file as data.files.{part}.",
                "Name a different file, or general.",
                setting="data.mix.rows",
            )


def _find_target_problems(recipe: Recipe) -> Iterator[SettingsError]:
    targets = recipe.target_modules
    if targets is None:
        return
    if not targets:
        yield SettingsError(
            "is empty.", "Name at least one module, or remove it.", setting="recipe.target_modules"
        )
    if recipe.method == "full":
        yield SettingsError(
            "is set, but a full fine-tune trains all weights.",
            "Remove it, or set recipe.method to lora.",
            setting="recipe.target_modules",
        )
    if "lm_head" in targets:
        problem = "names lm_head, whose adapter TRL never trains."
        yield SettingsError(problem, "Remove lm_head.", setting="recipe.target_modules")


def _find_evaluation_problems(settings: Evaluate) -> Iterator[SettingsError]:
    judge = settings.judge
    if judge.url is not None and not judge.url.startswith(("http://", "https://")):
        hint = "Write its base address: http://localhost:11434/v1."
        yield SettingsError("is not an address.", hint, setting="evaluate.judge.url")
    if judge.url is not None and not judge.model:
        hint = "Name the model at the endpoint."
        yield SettingsError("evaluate.judge has no model.", hint)
    if judge.url is None and (judge.model or judge.key_variable):
        hint = "Write its base address: http://localhost:11434/v1."
        yield SettingsError("evaluate.judge has no url.", hint)
    if judge.key_variable is not None and not judge.key_variable.isidentifier():
        yield SettingsError(
            "is not the name of an environment variable.",
            "Write the name, not the key itself: OPENAI_API_KEY.",
            setting="evaluate.judge.key_variable",
        )


def check_scorer(plan: Plan) -> None:
    """Raise FtwizardError if the scorer or pattern of a plan cannot be used."""
    for problem in _find_scorer_problems(plan):
        raise problem


def _find_scorer_problems(plan: Plan) -> Iterator[SettingsError]:
    settings, name = plan.evaluate, "evaluate.scorer"
    pattern, is_own = settings.answer_pattern, Reward(function=settings.scorer).file is not None
    names = [scorer for scorer in NAMES if scorer != "rewards"]
    if not is_own and settings.scorer not in ("auto", *names):
        hint = f"Name auto, {', '.join(names)}, or a function of your own: score.py:score"
        yield SettingsError(f"{settings.scorer!r} is not a scorer.", hint, setting=name)
    if pattern is not None:
        from ftwizard.rewards import answer_parts  # loads regex

        if problem := answer_parts.find_pattern_problem(pattern):
            hint = "Correct it, with the answer in its first group: #### (.+)"
            yield SettingsError(
                f"cannot be used: {problem}.", hint, setting="evaluate.answer_pattern"
            )
        if is_own or settings.scorer in ("judge", "tool_call", *GRADED):
            hint = "Remove evaluate.answer_pattern, or evaluate.scorer."
            yield SettingsError(f"{settings.scorer} takes no answer_pattern.", hint, setting=name)
    if settings.scorer == "extracted" and pattern is None:
        hint = "Add evaluate.answer_pattern: #### (.+)"
        yield SettingsError("extracted needs a pattern.", hint, setting=name)
    if settings.scorer == "judge" and settings.judge.url is None:
        hint = "Name the endpoint: evaluate.judge.url and .model."
        yield SettingsError("judge needs a judge.", hint, setting=name)
    if (
        not plan.is_hosted
        and plan.recipe.objective != "sft"
        and (pattern, settings.scorer) != (None, "auto")
    ):
        rows = "rewards" if plan.recipe.objective == "grpo" else "the probability of their answers"
        yield SettingsError(
            f"is for SFT: test rows of {plan.recipe.objective.upper()} are scored by {rows}.",
            "Remove evaluate.scorer and .answer_pattern.", setting=name,
        )  # fmt: skip


def _find_prompt_problems(prompts: tuple[str, ...] | str | None) -> Iterator[SettingsError]:
    if isinstance(prompts, tuple):
        if not prompts:
            yield SettingsError(
                "is empty.", "Write one prompt, or remove it.", setting="samples.prompts"
            )
        if len(prompts) > MAX_SAMPLES:
            yield SettingsError(
                f"has {len(prompts)} prompts.",
                f"Keep at most {MAX_SAMPLES}: each is answered at every evaluation.",
                setting="samples.prompts",
            )
        if not all(map(str.strip, prompts)):
            yield SettingsError(
                "has an empty prompt.", "Write it, or remove it.", setting="samples.prompts"
            )
    elif prompts is not None:
        if "\0" in prompts:
            yield SettingsError(
                "has a NUL character.", "A file name cannot have one.", setting="samples.prompts"
            )
        if not prompts.strip():
            yield SettingsError(
                "names no file.", "Name one, or remove it.", setting="samples.prompts"
            )
