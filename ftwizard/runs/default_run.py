"""The run that a command means when none is named: the only one running, or the newest."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

from ftwizard.errors import FtwizardError
from ftwizard.jobs.ending import GOOD_END_REASONS, describe_end_reason
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import Status, observe
from ftwizard.runs import remote, store, watched
from ftwizard.text import format_count

MAX_LISTED = 5
OVER = (*GOOD_END_REASONS, "refused", "failed")
"""End reasons of runs that are not resumed unless named: resumed as it was, a refused run is refused again,
and a job that failed at its platform has ended."""


class DefaultRun(NamedTuple):
    """A run, and why it was chosen."""

    folder: JobFolder
    reason: str
    """As in “Run X: the only one running”."""


def choose_shown() -> DefaultRun:
    """Choose the run to show: the newest one running, else the newest.

    Raises FtwizardError without any run.
    """
    runs = _list_newest_first()
    live = _list_live(runs)
    if not live:
        return DefaultRun(runs[0][0], "the newest; none is running")
    if len(live) == 1:
        return DefaultRun(live[0], "the only one running")
    return DefaultRun(live[0], f"the newest one running. Also running: {_list_ids(live[1:])}")


def choose_stopped() -> DefaultRun:
    """Choose the run to stop: the only one running.

    Raises FtwizardError without any, and where several are running.
    """
    runs = _list_newest_first()
    live = _list_live(runs)
    if not live:
        newest = runs[0][0].id
        raise FtwizardError(
            "No run is running, so there is nothing to stop.",
            f"The newest run has ended; to see it: ftwizard status {newest}",
        )
    if len(live) > 1:
        raise FtwizardError(
            f"{len(live)} runs are running: {_list_ids(live)}.",
            f"Name the one to stop: ftwizard stop {live[0].id}",
            candidates=tuple(folder.id for folder in live),
        )
    return DefaultRun(live[0], "the only one running")


def choose_resumed() -> DefaultRun:
    """Choose the run to resume: the newest that ended without finishing or being refused.

    Raises FtwizardError where there is none.
    """
    runs = _list_newest_first()
    if len(runs) == 1 and runs[0][1].state != "ended":
        name = runs[0][0].id
        raise FtwizardError(f"Run {name} is running already.", f"Watch it: ftwizard watch {name}")
    for folder, status in runs:
        reason = status.end_reason or "lost"
        record = remote.read(folder)
        is_over = reason in OVER or (record is not None and record.state in ("failed", "cancelled"))
        if status.state == "ended" and not is_over and not watched.read(folder):
            newest = "the newest run" if folder is runs[0][0] else "the newest that can be resumed"
            live = _list_live(runs)
            also = f". Also running: {_list_ids(live)}" if live else ""
            return DefaultRun(folder, f"{newest}; it {describe_end_reason(reason)}{also}")
    counted = format_count(len(runs), "run")
    verb = "is" if len(runs) == 1 else "are all"
    raise FtwizardError(
        f"Nothing to resume: {counted} {verb} finished, refused or still running.",
        "List them with: ftwizard runs",
    )


def choose_chatted() -> DefaultRun:
    """Choose the run to talk to: the newest with a model, here or at a platform.

    Raises FtwizardError where there is none.
    """
    for folder, _ in _list_newest_first():
        record = remote.read(folder)
        if folder.trained.exists() or (record and record.tuned_model):
            return DefaultRun(folder, "the newest with a model")
    raise _no_model_error("to talk to")


def choose_merged() -> DefaultRun:
    """Choose the run to merge: the newest with weights here, or with an adapter from a platform.

    Raises FtwizardError where there is none.
    """
    return choose_local(also_downloaded=True)


def choose_local(*, also_downloaded: bool = False) -> DefaultRun:
    """Choose the run to export, verify, serve or upload: the newest with weights here.

    ``also_downloaded``: also one with only the adapter that its platform made. Raises FtwizardError
    where there is none.
    """
    for folder, status in _list_newest_first():
        is_downloaded = status.state == "ended" and folder.adapter.is_dir()
        if folder.trained.exists() or (also_downloaded and is_downloaded and remote.read(folder)):
            return DefaultRun(folder, "the newest with a model on this machine")
    raise _no_model_error("on this machine")


def choose_compared() -> tuple[JobFolder, JobFolder]:
    """Choose the two newest runs, the older one first; raise FtwizardError with fewer."""
    newest = store.list_runs()[-2:]
    if len(newest) == 2:
        return newest[0], newest[1]
    if not newest:
        raise _no_runs_error()
    raise FtwizardError(
        f"There is only one run, {newest[0].id}, and nothing to compare it with.",
        f"Start another, or a child with one setting changed: ftwizard branch {newest[0].id} "
        "--rate-times 0.5",
    )


def describe_others(own: JobFolder) -> str:
    """Name the runs that are running besides ``own``, newest first; empty without any."""
    live = _list_live(_list_newest_first())
    return _list_ids([folder for folder in live if folder.id != own.id])


def _list_newest_first() -> list[tuple[JobFolder, Status]]:
    """Return all runs with their states; raise FtwizardError without any."""
    runs = []
    for folder in reversed(store.list_runs()):
        with contextlib.suppress(OSError):  # unreadable, or removed meanwhile
            runs.append((folder, observe(folder)))
    if not runs:
        raise _no_runs_error()
    return runs


def _list_live(runs: Sequence[tuple[JobFolder, Status]]) -> list[JobFolder]:
    return [folder for folder, status in runs if status.state != "ended"]


def _no_model_error(purpose: str) -> FtwizardError:
    return FtwizardError(f"No run has a model {purpose} yet.", "List your runs with: ftwizard runs")


def _no_runs_error() -> FtwizardError:
    return FtwizardError("No runs yet.", "Start one with: ftwizard FILE, or ftwizard demo")


def _list_ids(folders: Sequence[JobFolder]) -> str:
    more = len(folders) - MAX_LISTED
    listed = ", ".join(folder.id for folder in folders[:MAX_LISTED])
    return f"{listed} and {more} more" if more > 0 else listed
