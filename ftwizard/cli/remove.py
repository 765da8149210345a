"""``remove``: deletion of runs, after a confirmation."""

from __future__ import annotations

import argparse
from typing import cast

from ftwizard.cli import output
from ftwizard.errors import DECLINED, USAGE, FtwizardError
from ftwizard.hosted_platforms import HostedProvider
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import delete, hosted, remote, store
from ftwizard.runs.delete import RemovalReport, RemovedRun
from ftwizard.text import format_bytes, format_count, make_visible


def remove(arguments: argparse.Namespace) -> int:
    """Delete runs or their checkpoints; return 3 if the user declines."""
    folders = list({folder.path: folder for folder in map(store.find, arguments.runs)}.values())
    for folder in folders:
        delete.refuse_living(folder)
        hosted.refuse_removal(folder)
    if arguments.remote_files and arguments.checkpoints:
        raise FtwizardError(
            "--remote-files and --checkpoints exclude each other.", "Remove one of them.", USAGE
        )
    counted = {folder.id: delete.measure_sizes(folder) for folder in folders}
    only = arguments.checkpoints
    if not arguments.yes:
        if arguments.json or not output.has_terminal():
            raise FtwizardError(
                "remove asks for confirmation, which needs a terminal.",
                "To skip it, pass --yes.",
                USAGE,
            )
        if not _confirm(folders, counted, only, remote_files=arguments.remote_files):
            print("Nothing was deleted.")
            return DECLINED
    left = [] if only or arguments.remote_files else [*filter(None, map(_name_left, folders))]
    billed = [] if only else [*filter(None, map(_describe_billed, folders))]
    deleted_files = _delete_uploaded(folders) if arguments.remote_files else 0
    for folder in folders:
        (delete.remove_checkpoints if only else delete.remove)(folder)
    freed = _sum_freed(counted, only)
    removed = [RemovedRun(id=id, bytes=sizes) for id, sizes in counted.items()]
    report = RemovalReport(
        removed=removed, checkpoints_only=only, freed_bytes=freed, remote_files=deleted_files
    )
    scope = _name_scope(format_count(len(folders), "run"), only)
    lines = [f"Deleted {scope} and freed {format_bytes(freed)}."]
    if deleted_files:
        lines.append(f"Deleted {format_count(deleted_files, 'uploaded file')} at the platform.")
    lines += dict.fromkeys(left) if arguments.yes else []  # else the question named them
    lines += [f"! {text}" for text in billed]
    output.print_report(arguments, report, lines)
    return 0


def _name_scope(count: str, only_checkpoints: bool) -> str:
    return f"the checkpoints of {count}" if only_checkpoints else count


def _sum_freed(counted: dict[str, dict[str, int]], only_checkpoints: bool) -> int:
    return sum(sizes["checkpoints" if only_checkpoints else "total"] for sizes in counted.values())


def _delete_uploaded(folders: list[JobFolder]) -> int:
    """Delete the uploaded files of hosted runs at their platforms; return how many.

    A file that a run here which stays has, too, is left. Raises ProviderError, before any run is deleted.
    """
    from ftwizard.providers import platforms

    doomed = {folder.path for folder in folders}
    others = [folder for folder in store.list_runs() if folder.path not in doomed]
    shared = {pair for folder in others for pair in hosted.list_uploaded(folder)}
    own = {pair for folder in folders for pair in hosted.list_uploaded(folder)} - shared
    for provider, file_id in sorted(own):
        platforms.get_platform(cast(HostedProvider, provider)).delete_file(file_id)
    return len(own)


def _name_left(folder: JobFolder) -> str:
    """Return what a hosted run leaves at its platform; empty if nothing."""
    record, files = remote.read(folder), hosted.list_uploaded(folder)
    if record is None or not files:
        return ""
    count = format_count(len(files), "uploaded file")
    return f"{count}, job and model stay at {hosted.name_platform(record.provider)}."


def _describe_billed(folder: JobFolder) -> str:
    """Describe the tuned model of a run that is billed without the run; empty if there is none."""
    record = remote.read(folder)
    return hosted.describe_kept_model(folder.id, record) if record else ""


def _describe_uploaded(folder: JobFolder, *, are_deleted: bool) -> str:
    """Describe what a hosted run has at its platform, and whether it stays there; empty if nothing."""
    left = _name_left(folder)
    if not left or not are_deleted:
        return f"  {left} To delete the files there: --remote-files" if left else ""
    return f"  {left.partition(',')[0]} at the platform: deleted there, too. Job and model stay."


def _confirm(
    folders: list[JobFolder],
    counted: dict[str, dict[str, int]],
    only: bool,
    *,
    remote_files: bool = False,
) -> bool:
    out = output.make_console()
    for folder in folders:
        sizes = delete.format_sizes(counted[folder.id])
        output.print_lines(out, f"{make_visible(folder.id)}: {sizes}")
        if not only and (children := delete.list_children(folder)):
            names = make_visible(", ".join(children), 200)
            output.print_lines(out, f"  Child runs, which are kept: {names}")
        if not only and (text := _describe_uploaded(folder, are_deleted=remote_files)):
            output.print_lines(out, text)
    total = format_bytes(_sum_freed(counted, only))
    several = f"these {len(folders)} runs"
    count = f"run {make_visible(folders[0].id)}" if len(folders) == 1 else several
    effect = ", and no longer be able to resume" if only else ""
    question = f"Delete {_name_scope(count, only)} ({total}){effect}? This cannot be undone."
    return output.confirm(question, default=False)
