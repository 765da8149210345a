"""Where adapters will go, said before the model is loaded; and which models are a safer first run.

The training finds the modules on the model itself, and checks them (``train.targets``).
"""

from __future__ import annotations

from difflib import get_close_matches

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.estimate.shape import Shape
from ftwizard.text import visible

DOMINANT = 0.5
"""Experts that hold more than this share of a model's weights dominate it."""
SAFER = ("meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-4B-Instruct-2507")
"""Dense models for a first run (SPEC H3), smaller ones last."""


class Adapted(msgspec.Struct, frozen=True, kw_only=True):
    """What gets an adapter."""

    names: tuple[str, ...]
    """Of modules, as the configuration tells; of an unknown model none."""
    parameters: int
    """Of the adapter."""
    experts: float
    """Share of the model's weights that experts hold."""
    warnings: tuple[str, ...]
    safer: tuple[str, ...]
    """Models to begin with instead; empty where there is nothing to warn of."""


def adapted(shape: Shape, rank: int, targets: tuple[str, ...] | None = None) -> Adapted:
    """Return what an adapter of that rank goes to, by the model's configuration.

    ``targets``: what the plan names; None: every linear layer of the blocks.
    """
    ends = counted(targets)
    names = tuple(one.name for one in shape.linears if ends is None or one.name in ends)
    mixed = [one for one in shape.linears if one.active < one.count]
    held = sum(one.inputs * one.outputs * one.count for one in mixed) / shape.parameters
    size = shape.adapter(rank, ends)
    return Adapted(
        names=names,
        parameters=size,
        experts=held,
        warnings=tuple(_warnings(shape, held, size, targets, any(one.fused for one in mixed))),
        safer=SAFER if held > DOMINANT or not names or not shape.covered else (),
    )


def counted(targets: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the names of a plan as a shape has them, by their last words: ``mlp.up_proj`` is one
    of ``up_proj``. None stays None: every linear layer of the blocks."""
    if targets is None:
        return None
    return tuple(dict.fromkeys(one.rpartition(".")[2] for one in targets))


def missing(shape: Shape, targets: tuple[str, ...] | None) -> str:
    """Say which names of a plan the model's configuration lacks; empty where it has them all."""
    lacking = _lacking(shape, targets)
    if not lacking:
        return ""
    return (
        f"Its configuration has no {visible(', '.join(lacking), 80)} (recipe.target_modules); "
        f"the training refuses names that are not there. {_instead(shape, lacking)}"
    )


def check(shape: Shape, targets: tuple[str, ...] | None) -> None:
    """Raise FtwizardError, with the nearest right names, where a configuration has none of those
    that a plan names: there is nothing to estimate."""
    lacking = _lacking(shape, targets)
    if targets and len(lacking) == len(targets):
        raise FtwizardError(
            f"The model's configuration has no {visible(', '.join(lacking), 80)} "
            "(recipe.target_modules), so that nothing would be trained.",
            f"{_instead(shape, lacking)} Leave the setting out to take them all.",
        )


def _lacking(shape: Shape, targets: tuple[str, ...] | None) -> list[str]:
    known = {one.name for one in shape.linears}
    return [one for one in targets or () if one.rpartition(".")[2] not in known]


def _instead(shape: Shape, lacking: list[str]) -> str:
    """Return the names nearest to those that are lacking, or all where none is near."""
    known = list(dict.fromkeys(one.name for one in shape.linears))
    ends = (one.rpartition(".")[2] for one in lacking)
    near = dict.fromkeys(name for one in ends for name in get_close_matches(one, known, 2))
    return f"Nearest: {', '.join(near)}." if near else f"It has: {', '.join(known)}."


def _warnings(
    shape: Shape, experts: float, size: int, targets: tuple[str, ...] | None, fused: bool
) -> list[str]:
    found: list[str] = []
    if lacking := missing(shape, targets):
        found.append(lacking)
    if experts > DOMINANT:
        found.append(
            f"Experts hold {experts:.0%} of its weights, and a token passes through "
            f"{shape.active / shape.parameters:.0%} of them all: rows train each expert a little, "
            "and the adapter is large "
            f"({size / 1e6:,.0f} million weights)."
        )
        if fused:
            found.append(
                "Its experts are one parameter each, which QLoRA keeps in 16 bit: it needs about "
                "the memory of LoRA."
            )
    if not shape.covered:
        found.append(
            f"Memory and time were not checked on models of the kind {visible(shape.model_type, 40)}: "
            "a few real steps tell (ftwizard probe PLAN)."
        )
    return found
