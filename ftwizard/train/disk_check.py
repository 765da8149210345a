"""Check for enough free disk space before training."""

from __future__ import annotations

import json
import math
from pathlib import Path

from ftwizard.errors import FtwizardError
from ftwizard.estimate import disk
from ftwizard.hardware import machine
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan.schema import Plan
from ftwizard.train.measure import folder_bytes


def check_disk(folder: JobFolder, plan: Plan, base: Path) -> None:
    """Raise FtwizardError if the run's files will not fit; adapters are too small to count."""
    count, full = count_parameters(base), plan.recipe.method == "full"
    parts = disk.estimate_parts(
        trained=count if full else 0, parameters=count, adapter=not full, merges=plan.finish.merge
    )
    written = folder_bytes(folder.checkpoints) + folder_bytes(folder.merged)
    free = machine.get_free_bytes(folder.path)
    short = disk.find_shortage(parts, free=free, folder=str(folder.path), written=written)
    if short is not None:
        raise FtwizardError(short.message, short.hint)


def count_parameters(base: Path) -> int:
    """Return a model's number of parameters, from the headers of its safetensors files."""
    count = 0
    for path in base.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        header.pop("__metadata__", None)
        count += sum(math.prod(tensor["shape"]) for tensor in header.values())
    return count
