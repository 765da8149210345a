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
from ftwizard.text import size


def check(folder: JobFolder, plan: Plan, base: Path) -> None:
    """Raise FtwizardError if what the run writes will not fit; adapters are too small to count."""
    count, full = parameters(base), plan.recipe.method == "full"
    parts = disk.parts(
        trained=count if full else 0, parameters=count, adapter=not full, merges=plan.finish.merge
    )
    written = sum(f.stat().st_size for f in folder.checkpoints.rglob("*") if f.is_file())
    if folder.merged.exists():
        written += sum(f.stat().st_size for f in folder.merged.iterdir())
    needed = sum(part.value for part in parts.values()) - written
    free = machine.free_bytes(folder.path)
    if needed > free:
        raise FtwizardError(
            f"This run has up to {size(needed)} of weights still to write, and {size(free)} are "
            f"free where {folder.path} is.",
            "Free some space, or set FTWIZARD_HOME to a folder on a larger disk; then start again.",
        )


def parameters(base: Path) -> int:
    """Return how many weights a model has, by the headers of its safetensors files."""
    count = 0
    for path in base.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        count += sum(math.prod(v["shape"]) for k, v in header.items() if k != "__metadata__")
    return count
