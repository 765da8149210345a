"""Checkpoints as a training makes them: marked once they are whole on disk, and rotated."""

from __future__ import annotations

import shutil
from pathlib import Path

from ftwizard.checkpoints import MARKER, NAME, Checkpoint, all_complete, best, read
from ftwizard.jobs.folder import sync_files, sync_folder, write_json

TORN = "torn"


def complete(
    path: Path,
    *,
    step: int,
    attempt: int,
    eval_loss: float | None = None,
    tokens: int = 0,
    seconds: float = 0.0,
) -> Checkpoint:
    """Bring a freshly saved checkpoint to disk and mark it complete."""
    files = [file for file in sync_files(path) if file.name != MARKER]
    marker = Checkpoint(
        step=step,
        attempt=attempt,
        files={str(file.relative_to(path)): file.stat().st_size for file in files},
        eval_loss=eval_loss,
        tokens=tokens,
        seconds=seconds,
    )
    write_json(path / MARKER, marker)
    sync_folder(path.parent)
    return marker


def rotate(folder: Path) -> list[str]:
    """Remove complete checkpoints other than the best and the newest; return their names."""
    found = all_complete(folder)
    if not found:
        return []
    kept = {found[-1].name, (best(found) or found[-1]).name}
    removed = [c.name for c in found if c.name not in kept]
    for name in removed:
        # Without its marker first: a kill in the middle must not leave half a checkpoint marked.
        (folder / name / MARKER).unlink()
        shutil.rmtree(folder / name)
    return removed


def set_torn_aside(folder: Path) -> list[str]:
    """Move incomplete checkpoints into ``torn/``, out of the way of new ones of their name."""
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
    """Remove what was set aside, once the run no longer needs to explain it."""
    shutil.rmtree(folder / TORN, ignore_errors=True)
