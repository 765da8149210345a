"""``stop``: save and stop a run; a second stop kills it."""

from __future__ import annotations

import argparse
import sys

from ftwizard.cli import output, run_argument
from ftwizard.errors import FtwizardError
from ftwizard.jobs import leftovers, requests
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.keeper import TERM_GRACE_S
from ftwizard.jobs.status import Status, end_without_keeper, observe, wait_until_free
from ftwizard.runs import default_run, describe, store
from ftwizard.runs.summary import read_progress
from ftwizard.text import format_count, make_visible

SLACK_S = 10.0
"""Extra time beyond the grace period and the signals, for a slow disk."""


def stop(arguments: argparse.Namespace) -> int:
    """Request a run to save and stop, and wait until all its processes have ended."""
    folder = run_argument.find(arguments.run, default_run.choose_stopped)
    if count := leftovers.end(folder):
        killed = format_count(count, "process", "processes")
        print(f"Its trainer and keeper were dead; killed {killed} left behind.", file=sys.stderr)
    before = observe(folder)
    if before.state == "ended":
        return _print_ending(folder, before, arguments)
    kill = arguments.kill or bool(requests.read_pending(folder, "stop", before.attempt))
    grace = 0.0 if kill else read_progress(folder).stop_grace_s
    requests.request_stop(folder, before.attempt, grace_s=grace, now=kill)
    action = "Killing it" if kill else "Saving, then stopping (stop again to kill it)"
    on = f", on {make_visible(before.host, 64)}" if before.host else ""
    print(f"{action}{on}.", file=sys.stderr)
    if before.keeper_lives is False:
        end_without_keeper(folder, grace, lambda words: print(words, file=sys.stderr))
    if not wait_until_free(folder, grace + 2 * TERM_GRACE_S + SLACK_S):
        again = f"ftwizard stop {folder.id}"
        if before.host:  # its processes are on another machine: here we can only ask
            raise FtwizardError(
                f"Run {folder.id} has not ended yet and cannot be killed from here.",
                f"On {make_visible(before.host, 64)}, run: {again}",
            )
        raise FtwizardError(f"Run {folder.id} has not ended yet.", f"To kill it: {again}")
    return _print_ending(folder, observe(folder), arguments)


def _print_ending(folder: JobFolder, status: Status, arguments: argparse.Namespace) -> int:
    if arguments.json:
        output.print_json(store.read_status(folder))
    else:
        output.print_lines(output.make_console(), *describe.describe_end(folder, status))
    return 0
