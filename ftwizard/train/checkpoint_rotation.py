"""Marking and rotation of a training's checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ftwizard.jobs.folder import sync_files, sync_folder, write_json
from ftwizard.runs.checkpoints import MARKER, NAME, Checkpoint, all_complete, find_best, read

TORN = "torn"


def mark_complete(path: Path, **fields: Any) -> Checkpoint:
    """Flush a newly saved checkpoint to disk and mark it complete; ``fields`` are the marker's."""
    files = [file for file in sync_files(path) if file.name != MARKER]
    sizes = {str(file.relative_to(path)): file.stat().st_size for file in files}
    marker = Checkpoint(files=sizes, **fields)
    write_json(path / MARKER, marker)
    sync_folder(path.parent)
    return marker


def rotate(folder: Path) -> list[str]:
    """Delete complete checkpoints other than the best and the newest; return their names."""
    complete = all_complete(folder)
    if not complete:
        return []
    kept = {complete[-1].name, (find_best(complete) or complete[-1]).name}
    removed = [checkpoint.name for checkpoint in complete if checkpoint.name not in kept]
    for name in removed:
        # The marker first: a kill midway must not leave half a checkpoint marked as complete.
        (folder / name / MARKER).unlink()
        shutil.rmtree(folder / name)
    return removed


def move_torn(folder: Path) -> list[str]:
    """Move incomplete checkpoints to ``torn/``, so that new ones can use their names."""
    if not folder.is_dir():
        return []
    moved = []
    for path in sorted(folder.iterdir()):
        if not NAME.fullmatch(path.name) or read(path):
            continue
        (folder / TORN).mkdir(mode=0o700, exist_ok=True)
        number = sum(1 for _ in (folder / TORN).iterdir()) + 1
        path.rename(folder / TORN / f"{path.name}.{number}")
        moved.append(path.name)
    return moved


def remove_torn(folder: Path) -> None:
    """Delete the incomplete checkpoints in ``torn/``."""
    shutil.rmtree(folder / TORN, ignore_errors=True)
