"""Runs taken off the disk: what they take up, and how they go so that no half of one is left."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ftwizard import runs
from ftwizard.errors import FtwizardError
from ftwizard.jobs import elsewhere, lock
from ftwizard.jobs.folder import JobFolder, sync_folder
from ftwizard.jobs.status import observe
from ftwizard.text import size, visible

PREFIX = ".removed-"
"""Begins the name of a folder that is on its way out; no run is called so."""
_TRIES = 100
PARTS = ("checkpoints", "adapter", "merged", "export")


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes on the disk, by part."""

    checkpoints: int = 0
    adapter: int = 0
    merged: int = 0
    export: int = 0
    rest: int = 0
    """Events, log, plan, comparison and the like."""

    @property
    def total(self) -> int:
        return self.checkpoints + self.adapter + self.merged + self.export + self.rest


def sizes(folder: JobFolder) -> Sizes:
    """Return what a run takes up, counted in blocks of the disk; a file linked twice counts once."""
    seen: set[tuple[int, int]] = set()
    found = {name: _bytes(folder.path / name, seen) for name in PARTS}
    rest = sum(
        _bytes(Path(entry), seen) for entry in _entries(folder.path) if entry.name not in PARTS
    )
    return Sizes(**found, rest=rest)


def said(found: Sizes) -> str:
    """Return what a run takes up, the parts that there are."""
    parts = [(name, getattr(found, name)) for name in (*PARTS, "rest")]
    named = [f"{name} {size(value)}" for name, value in parts if value]
    return f"{size(found.total)} ({', '.join(named)})" if len(named) > 1 else size(found.total)


def remove(folder: JobFolder) -> None:
    """Remove a run for good.

    Its folder is renamed first, so that a kill in the middle leaves no half of a run; what an
    earlier kill left is taken away as well. Raises FtwizardError while anything of it lives.
    """
    with _ended(folder):
        gone = folder.path.with_name(f"{PREFIX}{os.getpid()}-{folder.id}")
        folder.path.rename(gone)
        sync_folder(gone.parent)
    _take_away(gone)
    sweep(gone.parent)


def remove_checkpoints(folder: JobFolder) -> None:
    """Remove the checkpoints of a run that has ended; what it made stays."""
    with _ended(folder):
        gone = folder.path / f"{PREFIX}{os.getpid()}-checkpoints"
        with contextlib.suppress(FileNotFoundError):
            folder.checkpoints.rename(gone)
            sync_folder(folder.path)
            _take_away(gone)
        sweep(folder.path)


def sweep(root: Path) -> None:
    """Take away what a removal that was killed has left below ``root``."""
    for entry in _entries(root):
        if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False):
            with contextlib.suppress(OSError):
                shutil.rmtree(entry.path)


def refuse_living(folder: JobFolder) -> None:
    """Raise FtwizardError where anything of a run lives, on this machine or on another."""
    locks = [folder.lock, *folder.path.glob("jobs/*/lock")]
    if observe(folder).state != "ended" or any(map(lock.is_held, locks)):
        raise _lives(folder)
    if elsewhere.lives(folder):
        raise _lives(folder)


def children(folder: JobFolder) -> list[str]:
    """Return the ids of the runs that were branched off a run; they stay when it goes."""
    return [one.id for one in runs.all_runs() if parent(one).get("id") == folder.id]


def parent(folder: JobFolder) -> dict[str, object]:
    """Return what a run's ``job.json`` says of the run that it was branched off, empty if none."""
    try:
        job = msgspec.json.decode(folder.job.read_bytes(), type=dict[str, object])
    except (OSError, ValueError, RecursionError):
        return {}
    inputs = job.get("inputs")
    found = job.get("parent") or (inputs.get("parent") if isinstance(inputs, dict) else None)
    return found if isinstance(found, dict) else {}


@contextlib.contextmanager
def _ended(folder: JobFolder) -> Iterator[None]:
    """Hold a run's lock, so that nothing of it can start meanwhile."""
    refuse_living(folder)
    held = lock.take_exclusive(folder.lock)
    if held is None:
        raise _lives(folder)
    try:
        yield
    finally:
        os.close(held)


def _lives(folder: JobFolder) -> FtwizardError:
    return FtwizardError(
        f"Run {visible(folder.id)} has not ended; nothing was removed.",
        f"End it first: ftwizard stop {visible(folder.id)}",
    )


def _take_away(gone: Path) -> None:
    whole = gone.resolve() if gone.is_symlink() else gone
    for _ in range(_TRIES):
        try:
            shutil.rmtree(whole)
            if whole != gone:
                gone.unlink()
            return
        except FileNotFoundError:  # another removal sweeps here too
            if not whole.exists():
                return
        except OSError as error:
            why = os.strerror(error.errno or errno.EIO)
            raise FtwizardError(
                f"The run is out of the list, but not all of it is off the disk: {why}.",
                f"What is left is in {visible(str(whole))}",
            ) from None


def _bytes(path: Path, seen: set[tuple[int, int]]) -> int:
    """Return what a file or a folder takes up; nothing behind a link counts."""
    try:
        status = path.lstat()
    except OSError:
        return 0
    inode = (status.st_dev, status.st_ino)
    if stat.S_ISDIR(status.st_mode):
        return sum(_bytes(Path(entry), seen) for entry in _entries(path))
    if status.st_nlink > 1 and inode in seen:
        return 0
    seen.add(inode)
    return status.st_blocks * 512


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []
