"""What is said before runs are removed."""

from __future__ import annotations

from ftwizard import removal
from ftwizard.jobs.folder import JobFolder
from ftwizard.screens.beside import beside
from ftwizard.screens.sure import Sure
from ftwizard.text import size, visible

SHOWN = 6
"""Runs that are named; there may be more."""


async def sure(folders: list[JobFolder]) -> Sure:
    """Return the question; sizes are counted beside the loop.

    Raises FtwizardError while anything of a run lives.
    """
    return await beside(_sure, folders)


def _sure(folders: list[JobFolder]) -> Sure:
    for one in folders:
        removal.refuse_living(one)
    counted = [removal.sizes(one) for one in folders]
    lines = []
    for one, found in list(zip(folders, counted, strict=True))[:SHOWN]:
        name = f"{visible(one.id)}: " if len(folders) > 1 else ""
        lines.append(f"{name}{removal.said(found)}")
        if branched := removal.children(one):
            lines.append(f"  Branched off it: {visible(', '.join(branched), 120)}. They stay.")
    if len(folders) > SHOWN:
        lines.append(f"and {len(folders) - SHOWN} more")
    whole = f"run {visible(folders[0].id, 40)}" if len(folders) == 1 else f"{len(folders)} runs"
    total = size(sum(one.total for one in counted))
    return Sure(f"Remove {whole} for good? {total}", "\n".join(lines), "remove")
