"""Run arguments of commands: without one, the run that the command most likely means."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from ftwizard import user_paths
from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import hosted, store, watched
from ftwizard.runs.default_run import DefaultRun
from ftwizard.text import make_visible


def find(name: str | None, choose: Callable[[], DefaultRun]) -> JobFolder:
    """Find the named run, or the one that ``choose`` returns, and name that on stderr.

    Raises FtwizardError where there is none.
    """
    if name is not None:
        return store.find(name)
    folder, reason = choose()
    print(f"Run {make_visible(folder.id)}: {reason}.", file=sys.stderr)
    return folder


def find_curve(name: str) -> Path | None:
    """Return the path of a file or folder that is not of a run; None where ``name`` means a run."""
    if store.is_run(name):
        return None
    path = user_paths.expand(name)
    if not user_paths.exists(path) or (path / "job.json").is_file():
        return None
    return path.absolute()


def refuse_hosted(name: str | None, done: str) -> None:
    """Raise FtwizardError for a named run whose weights are at a platform only, or wherever a script
    of the user saved them; see ``hosted.require_local`` and ``watched.require_own``. Names of anything
    else are left to the command."""
    if name is None:
        return
    try:
        folder = store.find(name)
    except FtwizardError:
        return
    watched.require_own(folder, done)
    hosted.require_local(folder, done)


def require_folder(folder: JobFolder, command: str) -> None:
    """Raise FtwizardError if a run's folder is gone; ``command`` continues where it was moved to."""
    if not folder.job.exists():
        raise FtwizardError(
            f"The folder of run {folder.id} was moved or deleted.",
            f"If it was moved, the run continues there: ftwizard {command} FOLDER",
        )
