"""What training comes to where the model is not on this machine: by its configuration alone."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ftwizard import forecast, machine, model_config, models, positions, refused, settings, speeds
from ftwizard.advice import modules
from ftwizard.advice.recipe import RecipeWarning
from ftwizard.catalog import configs, gpus
from ftwizard.catalog.prices import Prices
from ftwizard.commands import ledgers, room, warned
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.estimate import disk
from ftwizard.estimate.batches import Lengths
from ftwizard.estimate.shape import Shape
from ftwizard.machine import Facts, Gpu
from ftwizard.plan import Plan
from ftwizard.text import visible

MOST_GPUS = 64
_NUMBER = r"[-+]?\d[\d.,_]*"
_SEVERAL = re.compile(rf"\s*(?P<count>{_NUMBER})\s*[xX×]\s*(?P<name>\S.*)")
_SEVERAL_AFTER = re.compile(rf"\s*(?P<name>\S.*?)(?:\s+|(?<=\d))[xX×]\s*(?P<count>{_NUMBER})\s*")


def facts(arguments: argparse.Namespace) -> Facts:
    """Return the facts of this machine, or with the card that ``--gpu`` names in it, or several.

    Raises FtwizardError (``USAGE``) for a card that is not known, and for a number of them that is
    not whole or not from 1 to ``MOST_GPUS``.
    """
    here = machine.facts()
    if not arguments.gpu:
        return here
    count, name = _several(arguments.gpu)
    card = gpus.typed(name)
    if card is None:
        near = gpus.nearest(name)
        guess = f"Did you mean {near}? " if near else ""
        known = ", ".join(one.name for one in gpus.cards())
        raise FtwizardError(
            f"No card {visible(name, 60)} is known.", f"{guess}Known: {known}.", USAGE
        )
    one = Gpu(name=card.name, memory=card.usable)
    return msgspec.structs.replace(here, gpus=(one,) * count, no_gpu=None)


def _several(text: str) -> tuple[int, str]:
    """Return how many cards are named, and the name: of ``2 x A100``, ``A100 x 2`` or ``A100``."""
    found = _SEVERAL.fullmatch(text) or _SEVERAL_AFTER.fullmatch(text)
    if found is None:
        return 1, text
    count = found["count"]
    if not (re.fullmatch(r"\d{1,4}", count) and 1 <= int(count) <= MOST_GPUS):
        raise FtwizardError(
            f"{visible(count, 20)} is no number of cards.",
            f"It is a whole number from 1 to {MOST_GPUS}: --gpu '2 x A100 80 GB'.",
            USAGE,
        )
    return int(count), found["name"]


def shape(name: str) -> Shape | None:
    """Return the shape of a model that is here or in the catalogue; None where it is in neither.

    Raises FtwizardError for an architecture that is not known.
    """
    return model_config.shape(name) if name else None


def unknown(name: str, *, rows: bool) -> str:
    """Say that nothing is known of a model, and what would tell; ``rows``: they were given."""
    shown = visible(name, 100)
    fetched = f"With rows it is fetched: ftwizard estimate DATA --model {shown}"
    if rows:
        fetched = "It is fetched where this is installed: pip install 'ftwizard[local]'"
    near = ", ".join(configs.nearest(name))
    nearest = f"The nearest known: {near}. " if near else ""
    return (
        f"Memory and time, and the hours on a GPU, are not known: no configuration of {shown} is here "
        f"or in the catalogue. {nearest}{fetched}"
    )


def document(
    chosen: Plan,
    lengths: Mapping[str, Lengths | None],
    shape: Shape,
    facts: Facts,
    why: str,
    say: Callable[..., None],
    prices: Prices,
) -> dict[str, Any]:
    """Return what ``chosen`` comes to, with the keys of a plan's estimate as far as they are known.

    ``why`` the model itself was not looked at, in a sentence; '' where that goes without saying.
    Raises FtwizardError where the configuration has none of the modules that the plan names;
    ``warnings`` say which it lacks.
    """
    read = model_config.config(chosen.model.name)
    config = read[0] if read else None
    longest = positions.longest(lengths.get("train"), chosen.recipe.max_length)
    warnings = [
        *_lacking(chosen, shape),
        *warned.of_lengths(config, longest),
        *warned.of_plan(chosen, shape.parameters),
    ]
    given, chosen = chosen.recipe, _by_last_words(chosen)
    error = refused.of_config(config, chosen.model.name, longest) if config else None
    # What is counted is 16-bit weights: of the model that the refusal of others leads to.
    stands_for = config is not None and refused.quantised(config, chosen.model.name) is not None
    counted = ledgers.of_plan(chosen, config, shape, lengths, facts, say)
    memory = counted.memory
    come = forecast.of_plan(
        chosen, lengths, shape, facts, speeds=tuple(speeds.of_runs(chosen)), hour=prices.machine()
    )  # fmt: skip
    full = chosen.recipe.method == "full"
    recipe = chosen.recipe
    trained = shape.parameters if full else shape.adapter(recipe.rank, recipe.target_modules)
    needs = disk.parts(
        trained=trained, parameters=shape.parameters, adapter=not full,
        merges=chosen.finish.merge, download=None,
        stored=disk.stored(config, shape) if config else None,
    )  # fmt: skip
    said = f"{visible(chosen.model.name, 100)}, by its configuration alone ({shape.source})"
    if why:
        said += f". {why}"
    return {
        "model": {"name": chosen.model.name, "said": said, "why": why},
        "recipe": msgspec.to_builtins(given),
        "parameters": shape.parameters,
        "trained": trained,
        "parts": {},
        "mix_short": None,
        "steps": round(come.steps.value) if come else 0,
        "steps_per_epoch": come.steps_per_epoch if come else 0,
        "evaluate_every": 0,
        "disk": room.room(
            needs, settings.runs_folder(), models.hub_cache(), shape.parameters
        ),
        "time": msgspec.to_builtins(come.time if come else None),
        "memory": msgspec.to_builtins(memory or (come.memory if come else None)),
        "uncounted": counted.why,
        "one_gpu": one_gpu(chosen, facts),
        "here": here(chosen, facts),
        "room": forecast.room(chosen, facts),
        "refused": _refusal(error, stands_for) if error else None,
        "fit": None if error and not stands_for else msgspec.to_builtins(
            forecast.fits(chosen, lengths, shape, facts, counted=memory)
        ),
        "article": msgspec.to_builtins(forecast.article(chosen, lengths, shape, facts)),
        "follows": msgspec.to_builtins(come),
        "hour": hour(chosen, facts, prices),
        "probe": None,
        "warnings": msgspec.to_builtins(warnings),
        "epochs_because": warned.because(chosen),
        "measured": None,
    }  # fmt: skip


def hour(chosen: Plan, facts: Facts, prices: Prices) -> dict[str, Any]:
    """Return what an hour of the machine costs (``price``), and what such a card is rented for
    (``rental``), which is a guide and nobody's price."""
    price = prices.machine()
    rental = forecast.rental(forecast.gpu(chosen, facts), prices)
    return {
        "price": msgspec.to_builtins(price.figure()) if price else None,
        "rental": msgspec.to_builtins(rental),
    }


def _lacking(chosen: Plan, shape: Shape) -> list[RecipeWarning]:
    if chosen.recipe.method == "full":
        return []
    modules.check(shape, chosen.recipe.target_modules)
    lacking = modules.missing(shape, chosen.recipe.target_modules)
    return [RecipeWarning(code="missing-modules", message=lacking)] if lacking else []


def _by_last_words(chosen: Plan) -> Plan:
    """Return the plan with its modules named as a shape has them."""
    targets = modules.counted(chosen.recipe.target_modules)
    recipe = msgspec.structs.replace(chosen.recipe, target_modules=targets)
    return msgspec.structs.replace(chosen, recipe=recipe)


def here(chosen: Plan, facts: Facts) -> dict[str, Any]:
    """Return what the plan is trained on: its name, and its memory in bytes (None: not told)."""
    gpu = forecast.gpu(chosen, facts)
    if gpu is None:
        return {"name": "this machine", "memory": facts.memory, "gpu": False}
    return {"name": gpu.name or "the GPU", "memory": gpu.memory, "gpu": True}


def one_gpu(chosen: Plan, facts: Facts) -> str | None:
    """Say which of several GPUs a run uses, which is one process; None where there are no others."""
    if len(facts.gpus) < 2:
        return None
    number = chosen.where.gpu or 0
    name = visible(here(chosen, facts)["name"], 60)
    return (
        f"A run uses one GPU: number {number} of the {len(facts.gpus)}, {name} (where.gpu: another). "
        "The memory is that GPU's."
    )


def _refusal(error: FtwizardError, stands_for: bool) -> str:
    """Say that training refuses a model, and what the figures below are of."""
    below = " What follows is of that one." if stands_for else ""
    return f"Training refuses it: {error.message} {error.hint}{below}"
