"""``remove``: deletion of runs, after a confirmation."""

from __future__ import annotations

import argparse

from ftwizard.cli import output
from ftwizard.errors import DECLINED, USAGE, FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import delete, store
from ftwizard.runs.delete import RemovalReport, RemovedRun
from ftwizard.text import format_bytes, format_count, make_visible


def remove(arguments: argparse.Namespace) -> int:
    """Delete runs or their checkpoints; return 3 if the user declines."""
    folders = list({folder.path: folder for folder in map(store.find, arguments.runs)}.values())
    for folder in folders:
        delete.refuse_living(folder)
    counted = {folder.id: delete.measure_sizes(folder) for folder in folders}
    only = arguments.checkpoints
    if not arguments.yes:
        if arguments.json or not output.has_terminal():
            raise FtwizardError(
                "remove asks for confirmation, which needs a terminal.",
                "To skip it, pass --yes.",
                USAGE,
            )
        if not _confirm(folders, counted, only):
            print("Nothing was deleted.")
            return DECLINED
    for folder in folders:
        (delete.remove_checkpoints if only else delete.remove)(folder)
    freed = _sum_freed(counted, only)
    removed = [RemovedRun(id=id, bytes=sizes) for id, sizes in counted.items()]
    report = RemovalReport(removed=removed, checkpoints_only=only, freed_bytes=freed)
    scope = _name_scope(format_count(len(folders), "run"), only)
    lines = [f"Deleted {scope} and freed {format_bytes(freed)}."]
    output.print_report(arguments, report, lines)
    return 0


def _name_scope(count: str, only_checkpoints: bool) -> str:
    return f"the checkpoints of {count}" if only_checkpoints else count


def _sum_freed(counted: dict[str, dict[str, int]], only_checkpoints: bool) -> int:
    return sum(sizes["checkpoints" if only_checkpoints else "total"] for sizes in counted.values())


def _confirm(folders: list[JobFolder], counted: dict[str, dict[str, int]], only: bool) -> bool:
    out = output.make_console()
    for folder in folders:
        sizes = delete.format_sizes(counted[folder.id])
        output.print_lines(out, f"{make_visible(folder.id)}: {sizes}")
        if not only and (children := delete.list_children(folder)):
            names = make_visible(", ".join(children), 200)
            output.print_lines(out, f"  Child runs, which are kept: {names}")
    total = format_bytes(_sum_freed(counted, only))
    several = f"these {len(folders)} runs"
    count = f"run {make_visible(folders[0].id)}" if len(folders) == 1 else several
    effect = ", and no longer be able to resume" if only else ""
    question = f"Delete {_name_scope(count, only)} ({total}){effect}? This cannot be undone."
    return output.confirm(question, default=False)
