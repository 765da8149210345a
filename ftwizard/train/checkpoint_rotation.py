"""Marking and rotation of a training's checkpoints; torn and damaged ones are set aside."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.errors import USAGE, FtwizardError
from ftwizard.jobs.ending import GOOD_END_REASONS
from ftwizard.jobs.folder import JobFolder, has_hash, hash_file, sync_files, sync_folder, write_json
from ftwizard.jobs.launch import StartPoint
from ftwizard.runs.checkpoints import (
    MARKER,
    NAME,
    Checkpoint,
    all_complete,
    compute_seal,
    describe_damage,
    find_best,
    find_damage,
    find_newest_sound,
    is_weights,
    list_marked,
    read,
)
from ftwizard.runs.result import TrainResult, read_trained
from ftwizard.runs.summary import read_progress

TORN = "torn"
DAMAGED = "damaged-{name}"


def mark_complete(path: Path, **fields: Any) -> Checkpoint:
    """Flush a newly saved checkpoint to disk and mark it complete; ``fields`` are the marker's.

    Its bytes are hashed from the page cache while the disk writes them, which takes longer.
    """
    (path / MARKER).unlink(missing_ok=True)
    files = {str(file.relative_to(path)): file for file in path.rglob("*") if file.is_file()}
    with ThreadPoolExecutor(1) as pool:
        synced = pool.submit(sync_files, path)
        hashes = {name: hash_file(file) for name, file in sorted(files.items())}
        synced.result()
    sizes = {name: files[name].stat().st_size for name in hashes}
    marker = Checkpoint(files=sizes, hashes=hashes, **fields)
    marker = msgspec.structs.replace(marker, seal=compute_seal(msgspec.to_builtins(marker)))
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
    """Move checkpoints that were never completed to ``torn/``, so that new ones can use their names."""
    if not folder.is_dir():
        return []
    moved = []
    for path in sorted(folder.iterdir()):
        if not NAME.fullmatch(path.name) or (path / MARKER).exists():
            continue
        (folder / TORN).mkdir(mode=0o700, exist_ok=True)
        number = sum(1 for _ in (folder / TORN).iterdir()) + 1
        path.rename(folder / TORN / f"{path.name}.{number}")
        moved.append(path.name)
    return moved


def set_aside(folder: Path, names: Iterable[str]) -> None:
    """Rename damaged checkpoints, so that they count nowhere; they are kept until the run is deleted."""
    for name in names:
        aside = DAMAGED.format(name=name)
        number = sum(1 for _ in folder.glob(f"{aside}*"))
        (folder / name).rename(folder / (f"{aside}.{number + 1}" if number else aside))
        sync_folder(folder)


def set_incomplete_aside(folder: Path) -> dict[str, list[str]]:
    """Set aside the marked checkpoints whose files lack bytes; return the damaged files of each."""
    damaged = {path.name: find_damage(path) for path in list_marked(folder) if not read(path)}
    set_aside(folder, damaged)
    return damaged


def choose_best(folder: Path) -> tuple[Checkpoint | None, dict[str, list[str]]]:
    """Return the best sound checkpoint, else the newest; set damaged ones that precede it aside.

    Also return the damaged files of each.
    """
    damaged: dict[str, list[str]] = {}
    while complete := all_complete(folder):
        best = find_best(complete) or complete[-1]
        damage = find_damage(folder / best.name)
        if not damage:
            return best, damaged
        damaged[best.name] = damage
        set_aside(folder, [best.name])
    return None, damaged


def remove_torn(folder: Path) -> None:
    """Delete the incomplete checkpoints in ``torn/``."""
    shutil.rmtree(folder / TORN, ignore_errors=True)


def choose_beginning(
    folder: JobFolder,
    *,
    from_start: bool = False,
    say: Callable[[str], None] = lambda subject: None,
) -> StartPoint:
    """Return the newest sound checkpoint to continue from; set newer damaged ones aside.

    Raises FtwizardError where none is left of those that were saved, unless ``from_start``: hours
    of training would silently begin again. And with ``from_start`` if there is one. ``say`` gets
    what is read.
    """
    newest, damaged = find_newest_sound(folder.checkpoints, say)
    if newest is None and not from_start:
        _refuse_loss(folder, damaged)
    if newest is not None and from_start:
        raise FtwizardError(
            f"Run {folder.id} has a sound {newest.name}, so it does not start over.",
            f"Continue from it: ftwizard resume {folder.id}   Or start a new run: ftwizard train",
            USAGE,
        )
    if from_start:
        folder.trained.unlink(missing_ok=True)
    set_aside(folder.checkpoints, damaged)
    origin = f"{folder.checkpoints.name}/{newest.name}" if newest else None
    return StartPoint(origin, damaged)


def _refuse_loss(folder: JobFolder, damaged: Mapping[str, list[str]]) -> None:
    """Raise FtwizardError if a run has saved checkpoints, none is left, and it is not finished."""
    trained = read_trained(folder)
    if trained and trained.reason in GOOD_END_REASONS and not find_result_damage(folder, trained):
        return
    if not damaged and not (folder.events.exists() and read_progress(folder).checkpoints):
        return
    causes = [describe_damage(name, files) for name, files in damaged.items()]
    cause = f": {'; '.join(causes)}" if causes else "; they were deleted or damaged"
    hint = f"To start over: ftwizard resume {folder.id} --from start"
    steps = [
        name.rpartition("-")[2]
        for name, files in damaged.items()
        if not any(file == MARKER or is_weights(file) for file in files)
    ]
    if steps:
        child = f"ftwizard branch {folder.id} --from {steps[0]} --rate-times 0.5"
        hint = f"The weights at step {steps[0]} are sound: {child}   {hint}"
    raise FtwizardError(f"Run {folder.id} has no sound checkpoint left{cause}.", hint)


def find_result_damage(folder: JobFolder, trained: TrainResult) -> list[str]:
    """Return the damaged files of a run's resulting weights, relative to its folder."""
    if trained.method == "full":
        path = folder.checkpoints / f"checkpoint-{trained.step}"
        return [f"checkpoints/{path.name}/{name}" for name in find_damage(path, is_weights)]
    return [
        f"adapter/{name}"
        for name, digest in trained.hashes.items()
        if not has_hash(folder.adapter / name, digest)
    ]
