"""Memory counted tensor by tensor, cached by its inputs: a count takes up to a minute."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ftwizard import locations
from ftwizard.errors import FtwizardError
from ftwizard.estimate import plan_estimate
from ftwizard.estimate.batching import LengthDistribution
from ftwizard.estimate.memory import MemoryEstimate
from ftwizard.estimate.training_setup import TrainingSetup
from ftwizard.hardware.machine import MachineInfo, is_installed
from ftwizard.jobs.folder import write_json
from ftwizard.models import architectures
from ftwizard.models.shapes import ModelShape
from ftwizard.plan.schema import Plan

LIBRARIES = ("ftwizard", "torch", "transformers", "peft", "trl")


class MemoryCount(NamedTuple):
    """Memory of a plan from a count of tensors; empty where none is needed."""

    memory: MemoryEstimate | None = None
    why: str | None = None
    """Why it could not be counted, as a sentence; else None."""


def count_plan(
    plan: Plan, config: Mapping[str, Any] | None, shape: ModelShape | None,
    lengths: Mapping[str, LengthDistribution | None], facts: MachineInfo, say: Callable[..., None],
) -> MemoryCount:  # fmt: skip
    """Count the memory of a plan that the closed form does not cover.

    That is an uncovered ``shape``, or training without gradient checkpointing, where it depends on
    the model's class. ``config``: the model's config.json; ``shape``: None if its layers are unknown.
    """
    setup = plan_estimate.setup(plan, lengths, facts)
    if shape is not None and (not facts.gpus or (shape.covered and setup.checkpointing)):
        return MemoryCount()
    if not config:
        return MemoryCount(why="Its configuration is unknown.")
    if not facts.gpus:
        why = "Tensors are counted for GPUs only, and there is none. "
        try:
            architectures.build_shape(config, "its config.json")
        except FtwizardError as error:
            why += error.message
        return MemoryCount(why=why)
    if not is_installed("torch"):
        return MemoryCount(
            why="Counting tensors on the model's own class needs the training libraries: "
            "pip install 'ftwizard[local]'."
        )
    return count_memory(config, setup, say)


def count_memory(
    config: Mapping[str, Any], setup: TrainingSetup, say: Callable[..., None]
) -> MemoryCount:
    """Count the memory of a model with this config.json, or return why that fails."""
    file = _cache_file(config, setup)
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return MemoryCount(msgspec.json.decode(file.read_bytes(), type=MemoryEstimate))
    say("counting memory", what="on the model's own class, without weights; up to a minute")
    from ftwizard.train.memory_ledger import run_memory_ledger

    try:
        memory = run_memory_ledger(config, setup)
    except FtwizardError as error:
        return MemoryCount(why=f"Its tensors could not be counted. {error.message}")
    with contextlib.suppress(OSError, FtwizardError):  # next time it is counted again
        locations.create_private_folder(file.parent)
        write_json(file, memory)
    return MemoryCount(memory)


def _cache_file(config: Any, setup: TrainingSetup) -> Path:
    setup = msgspec.structs.replace(setup, alpha=None)  # does not change any tensor's size
    versions = [metadata.version(name) for name in LIBRARIES]
    key = hashlib.sha256(msgspec.json.encode([config, setup, versions], order="deterministic"))
    return locations.cache_folder() / "ledgers" / f"{key.hexdigest()[:24]}.json"
