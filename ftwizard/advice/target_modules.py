"""Modules that get an adapter, predicted from the configuration, and safer first models.

Training finds the modules on the model itself and checks them (``train.targets``).
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import NamedTuple

from ftwizard.errors import FtwizardError
from ftwizard.models.shapes import ModelShape
from ftwizard.text import make_visible

DOMINANT = 0.5
"""Share of the weights above which experts dominate a model."""
SAFER = ("meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-4B-Instruct-2507")
"""Dense models for a first run, smaller ones last."""


class Adapted(NamedTuple):
    """Cautions about an adapter of one model."""

    warnings: tuple[str, ...]
    safer: tuple[str, ...]
    """Models to start with instead; empty if there is no warning."""


def predict_adapted(
    shape: ModelShape, rank: int, targets: tuple[str, ...] | None = None
) -> Adapted:
    """Predict the cautions about an adapter of ``rank`` from the model's configuration.

    ``targets``: names from the plan; None for every linear layer of the blocks.
    """
    size = shape.adapter(rank, last_name_parts(targets))
    mixed = [linear for linear in shape.linears if linear.active < linear.count]
    experts = sum(linear.weights for linear in mixed) / shape.parameters
    warnings = [lacking] if (lacking := describe_missing(shape, targets)) else []
    if experts > DOMINANT:
        warnings.append(
            f"Experts hold {experts:.0%} of the weights, and each token uses only "
            f"{shape.active / shape.parameters:.0%} of the model. Each expert trains little, and "
            f"the adapter is large ({size / 1e6:,.0f} million weights)."
        )
        if any(linear.fused for linear in mixed):
            warnings.append(
                "Its fused experts stay in 16 bit with QLoRA, which then needs about as much "
                "memory as LoRA."
            )
    if not shape.covered:
        warnings.append(
            f"Estimates were not verified for {make_visible(shape.model_type, 40)} models. Measure a few "
            "real steps with ftwizard probe PLAN."
        )
    is_risky = experts > DOMINANT or not size or not shape.covered
    return Adapted(tuple(warnings), SAFER if is_risky else ())


def last_name_parts(targets: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return a plan's target modules as a shape names them: ``mlp.up_proj`` becomes ``up_proj``.

    None stays None: every linear layer of the blocks.
    """
    if targets is None:
        return None
    return tuple(dict.fromkeys(target.rpartition(".")[2] for target in targets))


def describe_missing(shape: ModelShape, targets: tuple[str, ...] | None) -> str:
    """Describe a plan's target modules that the model lacks; empty if it has them all."""
    lacking = _lacking(shape, targets)
    if not lacking:
        return ""
    return (
        f"The model has no {make_visible(', '.join(lacking), 80)} (recipe.target_modules), so training "
        f"will refuse to start. {_suggest_names(shape, lacking)}"
    )


def check_targets(shape: ModelShape, targets: tuple[str, ...] | None) -> None:
    """Raise FtwizardError, with the nearest names, if the model has none of a plan's targets."""
    lacking = _lacking(shape, targets)
    if targets and len(lacking) == len(targets):
        raise FtwizardError(
            f"The model has no {make_visible(', '.join(lacking), 80)} (recipe.target_modules), so "
            "nothing would be trained.",
            f"{_suggest_names(shape, lacking)} Remove the setting to use all linear layers.",
        )


def _lacking(shape: ModelShape, targets: tuple[str, ...] | None) -> list[str]:
    names = {linear.name for linear in shape.linears}
    return [target for target in targets or () if target.rpartition(".")[2] not in names]


def _suggest_names(shape: ModelShape, lacking: list[str]) -> str:
    """Suggest the names nearest to the lacking ones, or all names if none is near."""
    names = list(dict.fromkeys(linear.name for linear in shape.linears))
    ends = (target.rpartition(".")[2] for target in lacking)
    near = dict.fromkeys(name for end in ends for name in get_close_matches(end, names, 2))
    return f"Nearest: {', '.join(near)}." if near else f"It has: {', '.join(names)}."
