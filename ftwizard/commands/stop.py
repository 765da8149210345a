"""``stop``: save, then stop; again: end it now."""

from __future__ import annotations

import argparse
import sys

from ftwizard import runs, words
from ftwizard.commands import output
from ftwizard.errors import FtwizardError
from ftwizard.jobs import requests
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.keeper import TERM_GRACE_S
from ftwizard.jobs.status import Status, end_without_keeper, observe, wait_until_free
from ftwizard.text import visible

SLACK_S = 10.0
"""Beyond the grace and the signals, for a slow disk."""


def stop(arguments: argparse.Namespace) -> int:
    """Ask a run to save and stop, and wait until nothing of it lives."""
    folder = runs.find(arguments.run)
    before = observe(folder)
    if before.state == "ended":
        return _say(folder, before, arguments.json)
    kill = arguments.kill or bool(requests.pending(folder, "stop", before.attempt))
    grace = 0.0 if kill else runs.progress(folder).stop_grace_s
    requests.stop(folder, before.attempt, grace_s=grace, now=kill)
    said = "Ending it now" if kill else "Saving, then stopping (once more ends it at once)"
    on = f", on {visible(before.host, 64)}" if before.host else ""
    print(f"{said}{on}.", file=sys.stderr)
    if before.keeper_lives is False:
        end_without_keeper(folder, grace, lambda words: print(words, file=sys.stderr))
    if not wait_until_free(folder, grace + 2 * TERM_GRACE_S + SLACK_S):
        again = f"ftwizard stop {folder.id}"
        if before.host:  # its processes are out of reach: all that can be done here is to ask
            raise FtwizardError(
                f"Run {folder.id} has not ended yet, and nothing here can end it.",
                f"On {visible(before.host, 64)}: {again}",
            )
        raise FtwizardError(
            f"Run {folder.id} has not ended yet.", f"Once more ends it at once: {again}"
        )
    return _say(folder, observe(folder), arguments.json)


def _say(folder: JobFolder, status: Status, as_json: bool) -> int:
    if as_json:
        output.print_json(runs.status(folder))
    else:
        output.say(output.console(), *words.ending(folder, status))
    return 0
