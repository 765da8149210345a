"""Checks of a platform's settings against what the catalog has about the plan's model."""

from __future__ import annotations

from collections.abc import Iterator

from ftwizard.catalog import hosted_models
from ftwizard.catalog.hosted_models import HostedModel
from ftwizard.plan.platforms.rules import Problem
from ftwizard.plan.schema import Plan, PlatformSettings


def find_model(plan: Plan) -> HostedModel | None:
    """Return what the catalog has about the plan's model at its platform; None if it is unknown."""
    if plan.provider == "local":
        return None
    return hosted_models.find_model(plan.model.name, plan.provider)


def find_bound_problems(plan: Plan, settings: PlatformSettings) -> Iterator[Problem]:
    """Yield the numbers that the model does not take."""
    model = find_model(plan)
    for name, (low, high) in model.bounds.items() if model else ():
        value = getattr(settings, name)
        if isinstance(value, int | float) and not low <= value <= high:
            assert model is not None
            bounds = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            yield name, f"is {value:g}, but {model.name} takes {bounds}.", f"Set it to {bounds}."


def find_region_problems(plan: Plan, settings: PlatformSettings) -> Iterator[Problem]:
    """Yield a region that does not train the model."""
    model, region = find_model(plan), getattr(settings, settings.REGION)
    if model is None or not region or not model.regions or region in model.regions:
        return
    regions = join_words(model.regions)
    yield (
        settings.REGION,
        f"is {region}, but {model.name} is trained in {regions}.",
        f"Set it to {regions}, with a bucket that is there, too.",
    )


def join_words(words: tuple[str, ...]) -> str:
    """Join words to a list of alternatives: ``a, b or c``."""
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else "".join(words)
