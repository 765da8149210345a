"""What a job cannot save in its own folder, because the disk is full or fails.

Events are handed to the keeper in memory, which writes them once the command is gone. What it cannot
write either goes to a folder on another disk, and so may a checkpoint. The next start of the job
moves everything back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from ftwizard import locations
from ftwizard.jobs.folder import JobFolder, JobRecord, State, append, publish, read_json

_HANDOVER = "FTWIZARD_HANDOVER_FD"
"""Environment variable with the descriptor of the memory that a keeper shares with its command."""


def open_handover() -> tuple[int, dict[str, str]]:
    """Return a descriptor of shared memory, and the variable that tells the command of it."""
    descriptor = os.memfd_create("ftwizard-events")
    return descriptor, {_HANDOVER: str(descriptor)}


def hand_over(lines: bytes) -> bool:
    """Leave lines of events to the keeper; return False without one."""
    descriptor = os.environ.pop(_HANDOVER, "")
    try:
        return bool(descriptor) and os.pwrite(int(descriptor), lines, 0) == len(lines)
    except (OSError, ValueError):
        return False


def take_over(descriptor: int) -> bytes:
    """Return the lines that the command left, and close the descriptor."""
    with open(descriptor, "rb") as memory:
        return os.pread(descriptor, os.fstat(memory.fileno()).st_size, 0)


def save(record: JobRecord, action: Callable[[JobFolder], None]) -> JobFolder | None:
    """Run ``action`` with a folder on another disk; return the folder, None if no disk takes it."""
    for path in _list_candidates(record):
        is_new = not path.exists()
        try:
            if not path.is_symlink():
                folder = JobFolder(locations.create_private_folder(path))
                action(folder)
                return folder
        except Exception:  # noqa: BLE001 (a library's save fails with errors of its own)
            if is_new:
                shutil.rmtree(path, ignore_errors=True)
    return None


def read_state(folder: JobFolder) -> State | None:
    """Return the last state of a job from a folder on another disk; None if there is none."""
    states = (rescued.read_state() for rescued in _find(folder))
    return next((state for state in states if state), None)


def bring_back(folder: JobFolder) -> None:
    """Move what was saved on another disk back to the job; call it only under the lock of a start.

    Raises OSError if the job's disk does not take it.
    """
    for rescued in _find(folder):
        for part in rescued.checkpoints.glob("checkpoint-*"):
            copy = folder.checkpoints / f".{part.name}.part"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(part, copy)
            publish(copy, folder.checkpoints / part.name)
        with contextlib.suppress(FileNotFoundError):
            append(folder.events, rescued.events.read_bytes())
            rescued.events.unlink()
        shutil.rmtree(rescued.path, ignore_errors=True)


def remove(folder: JobFolder) -> None:
    """Delete what a job has on another disk; call it before its own folder is deleted."""
    for rescued in _find(folder):
        shutil.rmtree(rescued.path, ignore_errors=True)


def _find(folder: JobFolder) -> Iterator[JobFolder]:
    record = read_json(folder.job, JobRecord)
    for path in _list_candidates(record) if record else ():
        with contextlib.suppress(OSError):
            if path.lstat().st_uid == os.geteuid() and path.is_dir() and not path.is_symlink():
                yield JobFolder(path)


def _list_candidates(record: JobRecord) -> list[Path]:
    """Return the possible folders of a job, named after its creation: its own folder may move."""
    name = f"{record.created:.6f}"
    temporary = Path(tempfile.gettempdir()) / f"ftwizard-{os.geteuid()}-{name}"
    return [locations.cache_folder() / "rescued" / name, temporary]
