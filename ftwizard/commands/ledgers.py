"""Memory counted tensor by tensor, remembered by what it goes by: it takes up to a minute."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ftwizard import forecast, settings
from ftwizard.errors import FtwizardError
from ftwizard.estimate import shape as shapes
from ftwizard.estimate.batches import Lengths
from ftwizard.estimate.memory import Memory
from ftwizard.estimate.setup import Setup
from ftwizard.estimate.shape import Shape
from ftwizard.jobs.folder import write_json
from ftwizard.machine import Facts, is_installed
from ftwizard.plan import Plan

LIBRARIES = ("ftwizard", "torch", "transformers", "peft", "trl")
Say = Callable[..., None]


class Counted(NamedTuple):
    """The memory of a plan by a count of tensors; nothing at all where none is needed."""

    memory: Memory | None = None
    why: str | None = None
    """Why it could not be counted, a sentence; None where it was, or where none is needed."""


def of_plan(
    plan: Plan, config: Mapping[str, Any] | None, shape: Shape | None,
    lengths: Mapping[str, Lengths | None], facts: Facts, say: Say,
) -> Counted:  # fmt: skip
    """Count the memory of a plan where the closed form does not cover it: its model, ``shape``, or
    a training that recomputes nothing, which keeps what each model's class happens to keep.

    ``config``: the model's config.json; ``shape``: None where its layers are not known.
    """
    setup = forecast.setup(plan, lengths, facts)
    if shape is not None and (not facts.gpus or (shape.covered and setup.checkpointing)):
        return Counted()
    if not config:
        return Counted(why="Its configuration is not known here.")
    if not facts.gpus:
        return Counted(why=f"Tensors are counted for GPUs only, and there is none. {_no(config)}")
    if not is_installed("torch"):
        return Counted(
            why="Counting tensors on the model's own class needs the libraries that train: "
            "pip install 'ftwizard[local]'."
        )
    return memory(config, setup, say)


def memory(config: Mapping[str, Any], setup: Setup, say: Say) -> Counted:
    """Count the memory of a model of ``config``, its config.json, or say why it cannot be."""
    file = _file(config, setup)
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return Counted(msgspec.json.decode(file.read_bytes(), type=Memory))
    say("counting memory", what="on the model's own class, without its weights: up to a minute")
    from ftwizard.train.ledger import ledger

    try:
        found = ledger(config, setup)
    except FtwizardError as error:
        return Counted(why=f"Its tensors could not be counted. {error.message}")
    with contextlib.suppress(OSError, FtwizardError):  # it is counted again, then
        settings.private_folder(file.parent)
        write_json(file, found)
    return Counted(found)


def _no(config: Mapping[str, Any]) -> str:
    """Say why nothing is known of the model's layers."""
    try:
        shapes.from_config(config, "its config.json")
    except FtwizardError as error:
        return error.message
    return ""


def _file(config: Any, setup: Setup) -> Path:
    setup = msgspec.structs.replace(setup, alpha=None)  # no tensor is larger or smaller by it
    versions = [metadata.version(name) for name in LIBRARIES]
    key = hashlib.sha256(msgspec.json.encode([config, setup, versions], order="deterministic"))
    return settings.cache() / "ledgers" / f"{key.hexdigest()[:24]}.json"
