"""``remove``: runs off the disk, after a look at what goes."""

from __future__ import annotations

import argparse
import sys

import msgspec

from ftwizard import removal, runs
from ftwizard.commands import output
from ftwizard.errors import DECLINED, USAGE, FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.removal import Sizes
from ftwizard.text import plural, size, visible


def remove(arguments: argparse.Namespace) -> int:
    """Remove runs, or the checkpoints of runs; 3 where the answer was not yes."""
    folders = list({one.path: one for one in map(runs.find, arguments.runs)}.values())
    for folder in folders:
        removal.refuse_living(folder)
    counted = {folder.id: removal.sizes(folder) for folder in folders}
    only = arguments.checkpoints
    if not arguments.yes:
        if arguments.json or not output.has_terminal():
            raise FtwizardError(
                "Without a terminal nobody can be asked.", "To remove all the same: --yes", USAGE
            )
        if not _agreed(folders, counted, only):
            print("Nothing was removed.")
            return DECLINED
    for folder in folders:
        (removal.remove_checkpoints if only else removal.remove)(folder)
    freed = sum(_goes(one, only) for one in counted.values())
    if arguments.json:
        output.print_json(_document(folders, counted, only, freed))
    else:
        whole = plural(len(folders), "run")
        what = f"the checkpoints of {whole}" if only else whole
        output.say(output.console(), f"Removed {what}: {size(freed)} are free again.")
    return 0


def _document(
    folders: list[JobFolder], counted: dict[str, Sizes], only: bool, freed: int
) -> dict[str, object]:
    removed = [
        {"id": one.id, "bytes": {**msgspec.to_builtins(counted[one.id]), "total": counted[one.id].total}}
        for one in folders
    ]  # fmt: skip
    return {"removed": removed, "checkpoints_only": only, "freed_bytes": freed}


def _goes(one: Sizes, only_checkpoints: bool) -> int:
    return one.checkpoints if only_checkpoints else one.total


def _agreed(folders: list[JobFolder], counted: dict[str, Sizes], only: bool) -> bool:
    out = output.console()
    for folder in folders:
        output.say(out, f"{visible(folder.id)}: {removal.said(counted[folder.id])}")
        if not only and (branched := removal.children(folder)):
            output.say(out, f"  Branched off it: {visible(', '.join(branched), 200)}. They stay.")
    total = size(sum(_goes(one, only) for one in counted.values()))
    whole = f"run {visible(folders[0].id)}" if len(folders) == 1 else f"these {len(folders)} runs"
    what = f"the checkpoints of {whole}" if only else whole
    after = "; no step of it can be resumed then" if only else ""
    print(f"Remove {what} for good, {total}{after}? y to remove, Enter to leave: ", end="")
    sys.stdout.flush()
    return sys.stdin.readline().strip().casefold() in ("y", "yes")
