"""Checks of plans for a hosted platform: bounds, and settings that do not belong to it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import msgspec

from ftwizard.catalog import hosted_models
from ftwizard.data import bundled_samples
from ftwizard.errors import FtwizardError
from ftwizard.hosted_platforms import HostedProvider
from ftwizard.plan.platforms import bedrock, openai, together, vertex
from ftwizard.plan.platforms.rules import PlatformChecks, Problem
from ftwizard.plan.schema import (
    Plan,
    PlatformSettings,
    Recipe,
    Samples,
    Wandb,
    Where,
)
from ftwizard.strict_yaml import SettingsError

CHECKS: dict[HostedProvider, PlatformChecks] = {
    "openai": openai.CHECKS, "foundry": openai.CHECKS, "together": together.CHECKS,
    "bedrock": bedrock.CHECKS, "mantle": bedrock.MANTLE_CHECKS, "vertex": vertex.CHECKS,
}  # fmt: skip


def find_problems(plan: Plan, provider: HostedProvider) -> Iterator[SettingsError]:
    """Yield each problem of a plan whose provider is the platform ``provider``."""
    yield from _find_unused_settings(plan, provider)
    settings = plan.platform_settings
    checks = CHECKS[provider]
    problems = [
        *_find_platform_problems(settings, checks),
        *checks.find_file_problems(plan, settings),
    ]
    for name, problem, hint in problems:
        yield SettingsError(problem, hint, setting=f"{provider}.{name}")
    yield from _find_mix_problems(plan)
    yield from _find_model_problems(plan, provider)
    yield from _find_report_problems(plan, provider, settings.sent_to_wandb)


def _find_unused_settings(plan: Plan, provider: HostedProvider) -> Iterator[SettingsError]:
    """Yield settings of local training; the hints name the platform's own."""
    platform = hosted_models.PLATFORM_NAMES[provider]
    for name in _list_changed(plan.recipe, Recipe()):
        own = CHECKS[provider].recipe_names.get(name)
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


def _find_platform_problems(
    settings: PlatformSettings, checks: PlatformChecks
) -> Iterator[Problem]:
    """Yield the name of each setting that is wrong, what is wrong, and the fix."""
    for names, is_valid, hint in checks.rules:
        for name in names.split():
            value = getattr(settings, name)
            if isinstance(value, int | float) and not is_valid(value):
                yield name, f"is {value:g}." if isinstance(value, float) else f"is {value}.", hint
    suffix: str | None = getattr(settings, "suffix", None)
    if suffix is not None and not 1 <= len(suffix) <= checks.max_suffix:
        hint = f"It must have 1 to {checks.max_suffix}."
        yield "suffix", f"has {len(suffix)} characters.", hint
    yield from checks.find_problems(settings)


def _find_mix_problems(plan: Plan) -> Iterator[SettingsError]:
    """Yield why rows of another task cannot be mixed in."""
    mix = plan.data.mix
    if mix.share and mix.rows in bundled_samples.ROW_SETS and not plan.target.endswith("-sft"):
        yield SettingsError(
            "is set, but general rows are conversations, which this method does not train on.",
            "Remove data.mix, or name a file of rows for this method: data.mix.rows.",
            setting="data.mix.share",
        )


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
    plan: Plan, provider: HostedProvider, wandb: Wandb | None
) -> Iterator[SettingsError]:
    platform = hosted_models.PLATFORM_NAMES[provider]
    for reporter in plan.report_to:
        if reporter != "wandb" or wandb is None:
            yield SettingsError(
                f"names {reporter}, but {platform} sends metrics {'only to wandb' if wandb else 'nowhere'}.",
                f"Remove {reporter}: the run folder has all metrics that {platform} publishes.",
                setting="report_to",
            )
    if wandb is None or "wandb" in plan.report_to:
        return
    if wandb.project is None and wandb != Wandb():
        yield SettingsError(
            "is set, but has no project: no metrics would be sent.",
            f"Name one: {provider}.wandb.project.",
            setting=f"{provider}.wandb",
        )
