"""Confirmation before runs are deleted."""

from __future__ import annotations

from ftwizard.background import run_in_thread
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import delete
from ftwizard.screens.dialogs.questions import DestructiveConfirm
from ftwizard.text import format_bytes, make_visible

MAX_NAMED = 6
"""Runs that are listed by name."""


async def build_confirm(folders: list[JobFolder]) -> DestructiveConfirm:
    """Return the confirmation dialog; sizes are computed in a thread.

    Raises FtwizardError if a process of a run is still alive.
    """
    return await run_in_thread(_build_dialog, folders)


def _build_dialog(folders: list[JobFolder]) -> DestructiveConfirm:
    for folder in folders:
        delete.refuse_living(folder)
    sizes = [delete.measure_sizes(folder) for folder in folders]
    lines = []
    for folder, folder_size in list(zip(folders, sizes, strict=True))[:MAX_NAMED]:
        name = f"{make_visible(folder.id)}: " if len(folders) > 1 else ""
        lines.append(f"{name}{delete.format_sizes(folder_size)}")
        if branches := delete.list_children(folder):
            lines.append(f"  Branched runs are kept: {make_visible(', '.join(branches), 120)}")
    if len(folders) > MAX_NAMED:
        lines.append(f"and {len(folders) - MAX_NAMED} more")
    if len(folders) == 1:
        question = f"Permanently delete run {make_visible(folders[0].id, 40)}?"
    else:
        total = format_bytes(sum(folder_size["total"] for folder_size in sizes))
        question = f"Permanently delete {len(folders)} runs? {total}"
    return DestructiveConfirm(question, "\n".join(lines), "delete")
