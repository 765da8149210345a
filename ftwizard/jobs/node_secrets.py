"""Secrets of a run that starts on another machine: in a private file, not in its folder or script.

Environment variables of a submission are kept by the scheduler, and an option shows them to everybody.
So they go to ``$FTWIZARD_HOME/secrets/RUN.json``, which the run reads on its node and which is deleted
when it ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from ftwizard import locations
from ftwizard.jobs.folder import JobFolder, read_json, write_json


def save(folder: JobFolder, environment: Mapping[str, str], names: set[str]) -> None:
    """Keep the variables ``names`` for a run, as far as they are set; replace older ones."""
    values = {name: environment[name] for name in sorted(names) if environment.get(name)}
    remove(folder)
    if values:
        path = _get_path(folder)
        locations.create_private_folder(path.parent)
        write_json(path, values)


def read(folder: JobFolder) -> dict[str, str]:
    """Return the variables that are kept for a run."""
    return read_json(_get_path(folder), dict[str, str]) or {}


def remove(folder: JobFolder) -> None:
    """Delete what is kept for a run."""
    with contextlib.suppress(OSError):
        _get_path(folder).unlink()


def _get_path(folder: JobFolder) -> Path:
    return locations.home_folder() / "secrets" / f"{folder.id}.json"
