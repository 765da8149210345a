"""Run arguments of commands: without one, the run that the command most likely means."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import store
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
