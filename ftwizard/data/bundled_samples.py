"""Bundled sample data sets and plans."""

from __future__ import annotations

import hashlib
import os
import shutil
from importlib.resources import as_file, files
from pathlib import Path

from ftwizard import locations
from ftwizard.errors import FtwizardError

TICKETS = "tickets"
ROW_SETS = ("general",)
"""Bundled row sets that a plan can name instead of a file, to mix them in."""
DEMO_COST = "4–8 minutes on 2 CPU cores, less on a GPU; about 1 GB of disk space"


def copy_plan(*, forgets: bool = False) -> Path:
    """Copy the demo's sample into the user's data folder and return the path of its plan.

    ``forgets``: the plan without general rows. Raises FtwizardError if it cannot be written.
    """
    return _copied_folder(TICKETS) / ("forget.yaml" if forgets else "plan.yaml")


def resolve_rows(name: str) -> Path:
    """Return the file that ``name`` means: a copy of one of ``ROW_SETS``, or a file of that name."""
    return _copied_folder(name) / "train.jsonl" if name in ROW_SETS else Path(name)


def _copied_folder(name: str) -> Path:
    """Return the copy of a sample, creating it if needed.

    Each version has its own folder, because earlier runs still need the rows they started with.
    """
    root = locations.create_private_folder(locations.home_folder() / "samples")
    with as_file(files("ftwizard").joinpath("assets", "samples", name)) as packaged:
        digest = hashlib.sha256()
        for file in (*sorted(packaged.glob("*.jsonl")), *sorted(packaged.glob("*.yaml"))):
            digest.update(file.read_bytes())
        target = root / f"{name}-{digest.hexdigest()[:8]}"
        if not target.exists():
            _copy(packaged, target)
    return target


def _copy(packaged: Path, target: Path) -> None:
    """Copy to ``target`` atomically; raise FtwizardError if that fails."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        shutil.copytree(packaged, part, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        part.rename(target)
    except OSError as error:
        if target.exists():
            return  # another process was faster
        reason = error.strerror or str(error)
        if isinstance(error, shutil.Error) and isinstance(error.args[0], list):
            reason = str(error.args[0][0][-1])  # of several, the first
        raise FtwizardError(
            f"The sample could not be copied to {target}: {reason}.",
            "Free some disk space, or set FTWIZARD_HOME to a writable folder.",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
