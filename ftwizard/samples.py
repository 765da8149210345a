"""Samples that come with ftwizard."""

from __future__ import annotations

import hashlib
import os
import shutil
from importlib.resources import as_file, files
from pathlib import Path

from ftwizard import settings
from ftwizard.errors import FtwizardError

TICKETS = "tickets"
ROWS = ("general",)
"""Sets of rows that a plan names instead of a file, to mix them in."""
TAKES = "two to five minutes on two processor cores, less on a GPU; about 1 GB of disk"


def plan_file(name: str = TICKETS) -> Path:
    """Copy a sample where it can be looked at and kept; return the file of its plan.

    Raises FtwizardError when it cannot be written.
    """
    return _folder(name) / "plan.yaml"


def rows_file(name: str) -> Path:
    """Return the file of rows that ``name`` means: one of ``ROWS``, copied as a sample is, or a
    file of that name."""
    return _folder(name) / "train.jsonl" if name in ROWS else Path(name)


def _folder(name: str) -> Path:
    """Return the copy of a sample. Each version has a folder of its own: runs go on needing the
    rows that they began with."""
    root = settings.private_folder(settings.home() / "samples")
    with as_file(files("ftwizard").joinpath("assets", "samples", name)) as packaged:
        digest = hashlib.sha256()
        for file in (*sorted(packaged.glob("*.jsonl")), *packaged.glob("plan.yaml")):
            digest.update(file.read_bytes())
        target = root / f"{name}-{digest.hexdigest()[:8]}"
        if not target.exists():
            _copy(packaged, target)
    return target


def _copy(packaged: Path, target: Path) -> None:
    """Leave a copy in ``target``, whole or not at all; raise FtwizardError when it cannot be made."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        shutil.copytree(packaged, part, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        part.rename(target)
    except OSError as error:
        if target.exists():
            return  # another demo was faster
        raise FtwizardError(
            f"The sample cannot be copied to {target}: {_reason(error)}.",
            "Free some space, or set FTWIZARD_HOME to a folder that you can write to.",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _reason(error: OSError) -> str:
    """Return why, also of the first of the files that copytree reports together."""
    if isinstance(error, shutil.Error) and isinstance(error.args[0], list):
        return str(error.args[0][0][-1])
    return error.strerror or str(error)
