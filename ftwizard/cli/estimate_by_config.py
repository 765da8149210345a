"""Estimates for models that are not on this machine, from their configuration only."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ftwizard import locations
from ftwizard.advice import plan_warnings, run_history, target_modules
from ftwizard.advice.recipe_advice import RecipeWarning
from ftwizard.catalog import gpu_specs, model_configs
from ftwizard.catalog.prices import Prices
from ftwizard.cli import disk_check
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.estimate import batching, disk
from ftwizard.estimate import plan_estimate as forecast
from ftwizard.estimate.batching import LengthDistribution
from ftwizard.hardware import machine
from ftwizard.hardware.machine import Gpu, MachineInfo
from ftwizard.models import model_config, support
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import Plan
from ftwizard.text import make_visible
from ftwizard.train import ledger_cache

MAX_GPUS = 64
_NUMBER = r"[-+]?\d[\d.,_]*"
_COUNT_FIRST = re.compile(rf"\s*(?P<count>{_NUMBER})\s*[xX×]\s*(?P<name>\S.*)")
_NAME_FIRST = re.compile(rf"\s*(?P<name>\S.*?)(?:\s+|(?<=\d))[xX×]\s*(?P<count>{_NUMBER})\s*")


def machine_facts(arguments: argparse.Namespace) -> MachineInfo:
    """Return the facts of this machine, with its GPUs replaced by those in ``--gpu``.

    Raises FtwizardError (``USAGE``) for an unknown GPU, and for a count that is not a whole number
    from 1 to ``MAX_GPUS``.
    """
    local_facts = machine.read_machine_info()
    if not arguments.gpu:
        return local_facts
    count, name = _parse_count(arguments.gpu)
    card = gpu_specs.find_typed_gpu(name)
    if card is None:
        near = gpu_specs.nearest_gpu(name)
        guess = f"Did you mean {near}? " if near else ""
        names = ", ".join(card.name for card in gpu_specs.cards())
        raise FtwizardError(
            f"Unknown GPU {make_visible(name, 60)}.", f"{guess}Choose from: {names}.", USAGE
        )
    gpu = Gpu(name=card.name, memory=card.usable)
    return msgspec.structs.replace(local_facts, gpus=(gpu,) * count, no_gpu=None)


def _parse_count(text: str) -> tuple[int, str]:
    """Parse ``2 x A100``, ``A100 x 2`` or ``A100`` into a count and a name."""
    match = _COUNT_FIRST.fullmatch(text) or _NAME_FIRST.fullmatch(text)
    if match is None:
        return 1, text
    count = match["count"]
    if not (re.fullmatch(r"\d{1,4}", count) and 1 <= int(count) <= MAX_GPUS):
        raise FtwizardError(
            f"{make_visible(count, 20)} is not a valid number of GPUs.",
            f"Use 1 to {MAX_GPUS}: --gpu '2 x A100 80 GB'.",
            USAGE,
        )
    return int(count), match["name"]


def model_shape(name: str) -> ModelShape | None:
    """Return the shape of a model on this machine or in the catalog, else None.

    Raises FtwizardError for an unknown architecture.
    """
    return model_config.read_shape(name) if name else None


def describe_unknown(name: str, *, rows: bool) -> str:
    """Return the note on a model with unknown configuration; ``rows``: a data file was named."""
    shown = make_visible(name, 100)
    fetched = f"To download it: ftwizard estimate DATA --model {shown}"
    if rows:
        fetched = "To download it, first run: pip install 'ftwizard[local]'"
    near = ", ".join(model_configs.nearest_ids(name))
    nearest = f"Closest known: {near}. " if near else ""
    return (
        f"Memory, time and GPU hours are unknown: no configuration of {shown} is here or in the "
        f"catalog. {nearest}{fetched}"
    )


def to_document(
    chosen: Plan,
    lengths: Mapping[str, LengthDistribution | None],
    shape: ModelShape,
    facts: MachineInfo,
    why: str,
    say: Callable[..., None],
    prices: Prices,
) -> dict[str, Any]:
    """Return the estimate of a plan as a document, with the keys that can be known.

    ``why``: a sentence on why the model itself was not read, or ''. Raises FtwizardError where the
    configuration has none of the plan's target modules; ``warnings`` name those it lacks.
    """
    read = model_config.read_config(chosen.model.name)
    config = read[0] if read else None
    longest = batching.longest_row_tokens(lengths.get("train"), chosen.recipe.max_length)
    warnings = [
        *_warn_missing_modules(chosen, shape),
        *plan_warnings.check_lengths(config, longest),
        *plan_warnings.find_warnings(chosen, shape.parameters),
    ]
    recipe_as_planned, chosen = chosen.recipe, _with_short_module_names(chosen)
    error = support.check_config(config, chosen.model.name, longest) if config else None
    # The estimate is for 16-bit weights: of the model that the refusal suggests instead.
    stands_for = (
        config is not None and support.check_quantized(config, chosen.model.name) is not None
    )
    counted = ledger_cache.count_plan(chosen, config, shape, lengths, facts, say)
    memory = counted.memory
    plan_estimate = forecast.estimate_plan(
        chosen, lengths, shape, facts, speeds=tuple(run_history.find_speeds(chosen)), hour=prices.machine()
    )  # fmt: skip
    full = chosen.recipe.method == "full"
    recipe = chosen.recipe
    trained = shape.parameters if full else shape.adapter(recipe.rank, recipe.target_modules)
    needs = disk.estimate_parts(
        trained=trained, parameters=shape.parameters, adapter=not full,
        merges=chosen.finish.merge, download=None,
        stored=disk.estimate_file_size(config, shape) if config else None,
    )  # fmt: skip
    summary = (
        f"{make_visible(chosen.model.name, 100)}, from its configuration only ({shape.source})"
    )
    if why:
        summary += f". {why}"
    return {
        "model": {"name": chosen.model.name, "said": summary, "why": why},
        "recipe": msgspec.to_builtins(recipe_as_planned),
        "parameters": shape.parameters,
        "trained": trained,
        "parts": {},
        "mix_short": None,
        "steps": round(plan_estimate.steps.value) if plan_estimate else 0,
        "steps_per_epoch": plan_estimate.steps_per_epoch if plan_estimate else 0,
        "evaluate_every": 0,
        "disk": disk_check.to_document(
            needs, locations.runs_folder(), locations.hub_cache_folder(), shape.parameters
        ),
        "time": msgspec.to_builtins(plan_estimate.time if plan_estimate else None),
        "memory": msgspec.to_builtins(memory or (plan_estimate.memory if plan_estimate else None)),
        "uncounted": counted.why,
        "one_gpu": describe_gpu_choice(chosen, facts),
        "here": device_document(chosen, facts),
        "room": forecast.available_bytes(chosen, facts),
        "refused": _describe_refusal(error, stands_for) if error else None,
        "fit": None if error and not stands_for else msgspec.to_builtins(
            forecast.check_plan_fit(chosen, lengths, shape, facts, counted=memory)
        ),
        "article": msgspec.to_builtins(forecast.compare_with_article(chosen, lengths, shape, facts)),
        "follows": msgspec.to_builtins(plan_estimate),
        "hour": price_document(chosen, facts, prices),
        "probe": None,
        "warnings": msgspec.to_builtins(warnings),
        "epochs_because": plan_warnings.explain_epochs(chosen),
        "measured": None,
    }  # fmt: skip


def price_document(chosen: Plan, facts: MachineInfo, prices: Prices) -> dict[str, Any]:
    """Return the hourly price of the machine (``price``) and, as a guide only, the rental price of
    such a GPU (``rental``)."""
    price = prices.machine()
    rental = forecast.rental_price(forecast.plan_gpu(chosen, facts), prices)
    return {
        "price": msgspec.to_builtins(price.figure()) if price else None,
        "rental": msgspec.to_builtins(rental),
    }


def _warn_missing_modules(chosen: Plan, shape: ModelShape) -> list[RecipeWarning]:
    if chosen.recipe.method == "full":
        return []
    target_modules.check_targets(shape, chosen.recipe.target_modules)
    lacking = target_modules.describe_missing(shape, chosen.recipe.target_modules)
    return [RecipeWarning(code="missing-modules", message=lacking)] if lacking else []


def _with_short_module_names(chosen: Plan) -> Plan:
    """Return the plan with its target modules named as in a shape."""
    targets = target_modules.last_name_parts(chosen.recipe.target_modules)
    recipe = msgspec.structs.replace(chosen.recipe, target_modules=targets)
    return msgspec.structs.replace(chosen, recipe=recipe)


def device_document(chosen: Plan, facts: MachineInfo) -> dict[str, Any]:
    """Return the training device: its name, and its memory in bytes (None if unknown)."""
    gpu = forecast.plan_gpu(chosen, facts)
    if gpu is None:
        return {"name": "this machine", "memory": facts.memory, "gpu": False}
    return {"name": gpu.name or "the GPU", "memory": gpu.memory, "gpu": True}


def describe_gpu_choice(chosen: Plan, facts: MachineInfo) -> str | None:
    """Return the note on which of several GPUs a run uses; None with fewer than two."""
    if len(facts.gpus) < 2:
        return None
    number = chosen.where.gpu or 0
    name = make_visible(device_document(chosen, facts)["name"], 60)
    return (
        f"A run uses one GPU: number {number} of {len(facts.gpus)}, {name}. The memory is for it. "
        "Choose another with where.gpu."
    )


def _describe_refusal(error: FtwizardError, stands_for: bool) -> str:
    """Return the note that training refuses a model, and which model the figures are for."""
    below = " The figures below are for that model." if stands_for else ""
    return f"Training refuses this model: {error.message} {error.hint}{below}"
