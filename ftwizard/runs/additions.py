"""The data file that turns of a chat with a run's model are added to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan import plan_file


class AdditionFiles(NamedTuple):
    """Files of a run that concern added rows."""

    additions: Path
    """File that rows are added to by default; it need not exist."""
    training: Path | None
    """File that the run was trained on, if it is still there."""


def find_files(folder: JobFolder) -> AdditionFiles:
    """Return the files of a run: additions go next to its training file, never into it."""
    try:
        training: Path | None = Path(plan_file.read_run(folder).data.files.train)
    except (FtwizardError, OSError):
        training = None
    if training is not None and not training.is_file():
        training = None
    parent = Path.cwd()
    if training is not None and os.access(training.parent, os.W_OK):
        parent = training.parent
    return AdditionFiles(parent / f"{folder.id}-additions.jsonl", training)
