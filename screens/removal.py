"""Confirmation before runs are deleted."""

from __future__ import annotations

from ftwizard import removal
from ftwizard.jobs.folder import JobFolder
from ftwizard.screens.beside import beside
from ftwizard.screens.sure import DestructiveConfirm
from ftwizard.text import size, visible

MAX_NAMED = 6
"""Runs that are listed by name."""


async def sure(folders: list[JobFolder]) -> DestructiveConfirm:
    """Return the confirmation dialog; sizes are computed in a thread.

    Raises FtwizardError if a process of a run is still alive.
    """
    return await beside(_build_dialog, folders)


def _build_dialog(folders: list[JobFolder]) -> DestructiveConfirm:
    for folder in folders:
        removal.refuse_living(folder)
    sizes = [removal.sizes(folder) for folder in folders]
    lines = []
    for folder, folder_size in list(zip(folders, sizes, strict=True))[:MAX_NAMED]:
        name = f"{visible(folder.id)}: " if len(folders) > 1 else ""
        lines.append(f"{name}{removal.said(folder_size)}")
        if branches := removal.children(folder):
            lines.append(f"  Branched runs are kept: {visible(', '.join(branches), 120)}")
    if len(folders) > MAX_NAMED:
        lines.append(f"and {len(folders) - MAX_NAMED} more")
    subject = f"run {visible(folders[0].id, 40)}" if len(folders) == 1 else f"{len(folders)} runs"
    total = size(sum(folder_size.total for folder_size in sizes))
    return DestructiveConfirm(f"Permanently delete {subject}? {total}", "\n".join(lines), "delete")
