"""Deletion of runs: their disk usage, and removal that never leaves half a run."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.jobs import leftovers, lock, node_secrets, remote_host, rescue
from ftwizard.jobs.folder import JobFolder, sync_folder
from ftwizard.jobs.status import observe
from ftwizard.runs import store
from ftwizard.text import format_bytes, make_visible

PREFIX = ".removed-"
"""Name prefix of a folder that is being deleted; not a valid run name."""
_MAX_TRIES = 100
PARTS = ("checkpoints", "adapter", "merged", "export")


class RemovedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run in ``ftwizard remove --json``."""

    id: str
    bytes: dict[str, int]
    """Disk usage by part, and in ``total``."""


class RemovalReport(msgspec.Struct, frozen=True, kw_only=True):
    """The document of ``ftwizard remove --json``."""

    removed: list[RemovedRun]
    checkpoints_only: bool
    freed_bytes: int
    remote_files: int = 0
    """Uploaded files that were deleted at platforms."""


def measure_sizes(folder: JobFolder) -> dict[str, int]:
    """Measure the disk usage of a run in blocks, in bytes; a file linked twice counts once.

    Return it by part: those in ``PARTS``, the ``rest`` (events, log, plan and others), ``total``.
    """
    inodes: set[tuple[int, int]] = set()
    sizes = {name: _measure_bytes(folder.path / name, inodes) for name in PARTS}
    others = [Path(entry) for entry in _list_entries(folder.path) if entry.name not in PARTS]
    sizes["rest"] = sum(_measure_bytes(path, inodes) for path in others)
    return {**sizes, "total": sum(sizes.values())}


def format_sizes(sizes: dict[str, int]) -> str:
    """Format the disk usage of a run, with the parts that it has."""
    total = format_bytes(sizes["total"])
    parts = [f"{k} {format_bytes(v)}" for k, v in sizes.items() if v and k != "total"]
    return f"{total} ({', '.join(parts)})" if len(parts) > 1 else total


def remove(folder: JobFolder) -> None:
    """Delete a run.

    Its folder is renamed first, so that a kill in the middle never leaves half a run; leftovers of
    an earlier kill are deleted too. Raises FtwizardError while a process of the run is alive.
    """
    with _lock_ended(folder):
        rescue.remove(folder)
        node_secrets.remove(folder)
        doomed = folder.path.with_name(f"{PREFIX}{os.getpid()}-{folder.id}")
        folder.path.rename(doomed)
        sync_folder(doomed.parent)
    _delete(doomed)
    sweep(doomed.parent)


def remove_checkpoints(folder: JobFolder) -> None:
    """Delete the checkpoints of a run that ended; its results stay."""
    with _lock_ended(folder):
        doomed = folder.path / f"{PREFIX}{os.getpid()}-checkpoints"
        with contextlib.suppress(FileNotFoundError):
            folder.checkpoints.rename(doomed)
            sync_folder(folder.path)
            _delete(doomed)
        sweep(folder.path)


def sweep(root: Path) -> None:
    """Delete what a killed removal left below ``root``."""
    for entry in _list_entries(root):
        if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False):
            with contextlib.suppress(OSError):
                shutil.rmtree(entry.path)


def refuse_living(folder: JobFolder) -> None:
    """Raise FtwizardError if a run is alive, on this machine or another; kill what a dead one left."""
    leftovers.end(folder)
    locks = [folder.lock, *folder.path.glob("jobs/*/lock")]
    if observe(folder).state != "ended" or any(map(lock.is_held, locks)):
        raise _make_error(folder)
    if remote_host.find_live_host(folder):
        raise _make_error(folder)


def list_children(folder: JobFolder) -> list[str]:
    parents = ((run.id, store.read_parent(run)) for run in store.list_runs())
    return [run_id for run_id, parent in parents if parent and parent.id == folder.id]


@contextlib.contextmanager
def _lock_ended(folder: JobFolder) -> Iterator[None]:
    """Hold the lock of a run that ended, so that it cannot start meanwhile."""
    refuse_living(folder)
    lock_fd = lock.take_exclusive(folder.lock)
    if lock_fd is None:
        raise _make_error(folder)
    try:
        yield
    finally:
        os.close(lock_fd)


def _make_error(folder: JobFolder) -> FtwizardError:
    return FtwizardError(
        f"Run {make_visible(folder.id)} has not ended; nothing was deleted.",
        f"Stop it first: ftwizard stop {make_visible(folder.id)}",
    )


def _delete(folder: Path) -> None:
    target = folder.resolve() if folder.is_symlink() else folder
    for _ in range(_MAX_TRIES):
        try:
            shutil.rmtree(target)
            if target != folder:
                folder.unlink()
            return
        except FileNotFoundError:  # another removal sweeps here too
            if not target.exists():
                return
        except OSError as error:
            reason = os.strerror(error.errno or errno.EIO)
            raise FtwizardError(
                f"The run was removed from the list, but not all of it was deleted: {reason}.",
                f"The rest is in {make_visible(str(target))}",
            ) from None


def _measure_bytes(path: Path, inodes: set[tuple[int, int]]) -> int:
    try:
        status = path.lstat()
    except OSError:
        return 0
    inode = (status.st_dev, status.st_ino)
    if stat.S_ISDIR(status.st_mode):
        return sum(_measure_bytes(Path(entry), inodes) for entry in _list_entries(path))
    if status.st_nlink > 1 and inode in inodes:
        return 0
    inodes.add(inode)
    return status.st_blocks * 512


def _list_entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
