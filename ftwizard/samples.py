"""Samples that come with ftwizard."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from importlib.resources import as_file, files
from pathlib import Path

from ftwizard import settings

TICKETS = "tickets"
TAKES = "two to five minutes on two processor cores, less on a GPU; about 1 GB of disk"


def plan_file(name: str = TICKETS) -> Path:
    """Copy a sample where it can be looked at and kept; return the file of its plan.

    Each version has a folder of its own: runs go on needing the rows that they began with. Raises
    FtwizardError when it cannot be written.
    """
    root = settings.private_folder(settings.home() / "samples")
    with as_file(files("ftwizard").joinpath("assets", "samples", name)) as packaged:
        digest = hashlib.sha256()
        for file in sorted(packaged.glob("*.jsonl")):
            digest.update(file.read_bytes())
        digest.update((packaged / "plan.yaml").read_bytes())
        target = root / f"{name}-{digest.hexdigest()[:8]}"
        if not target.exists():
            part = root / f".{target.name}.{os.getpid()}.part"
            shutil.copytree(packaged, part, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
            with contextlib.suppress(OSError):  # another demo was faster
                part.rename(target)
            shutil.rmtree(part, ignore_errors=True)
    return target / "plan.yaml"
