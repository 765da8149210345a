"""Whether a run's weights will fit on the disk, asked before hours are spent on them."""

from __future__ import annotations

import json
import math
from pathlib import Path

from ftwizard import machine
from ftwizard.errors import FtwizardError
from ftwizard.estimate import disk
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan import Plan


def check(folder: JobFolder, plan: Plan, base: Path) -> None:
    """Raise FtwizardError if what the run writes will not fit; adapters are too small to count."""
    count, full = parameters(base), plan.recipe.method == "full"
    parts = disk.parts(
        trained=count if full else 0, parameters=count, adapter=not full, merges=plan.finish.merge
    )
    written = sum(f.stat().st_size for f in folder.checkpoints.rglob("*") if f.is_file())
    if folder.merged.exists():
        written += sum(f.stat().st_size for f in folder.merged.iterdir())
    free = machine.free_bytes(folder.path)
    short = disk.short(parts, free=free, folder=str(folder.path), written=written)
    if short is not None:
        raise FtwizardError(short.message, short.hint)


def parameters(base: Path) -> int:
    """Return how many weights a model has, by the headers of its safetensors files."""
    count = 0
    for path in base.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        count += sum(math.prod(v["shape"]) for k, v in header.items() if k != "__metadata__")
    return count
