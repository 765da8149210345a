"""Atomic creation of new files that never overwrites an existing one."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import sync_folder
from ftwizard.text import make_visible

_FULL_DISK = {
    errno.ENOSPC: "No disk space is left in",
    errno.EDQUOT: "Your disk quota is used up in",
    errno.EFBIG: "The file is too large for the file system of",
}
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES)


@contextlib.contextmanager
def new_file(path: Path, *, not_over: Iterable[Path] = (), mode: int = 0o666) -> Iterator[BinaryIO]:
    """Yield a file to write; on success it is synced to disk and named ``path``.

    ``mode``: its permissions, less those that the umask removes.

    It is written under a temporary name in the same folder and removed on any error. Raises
    FtwizardError if ``path`` exists (also as a dangling link) or is one of ``not_over``, if no file
    can be created or synced, or if the disk is full.
    """
    require_free(path, not_over=not_over)
    part = path.with_name(f".{path.name[:100]}.{os.getpid()}.part")
    with _explain_full_disk(path):
        try:
            descriptor = os.open(part, _NEW, mode)
        except OSError as error:
            if error.errno in _FULL_DISK:
                raise
            raise FtwizardError(
                f"{make_visible(str(path))} could not be created: {error.strerror}.",
                "Name another file.",
            ) from None
        try:
            with open(descriptor, "wb") as file:
                yield file
                _sync(file, path)
            publish(part, path)
        finally:
            part.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # some file systems cannot sync folders
        sync_folder(path.parent)


def require_free(path: Path, *, not_over: Iterable[Path] = ()) -> None:
    """Raise FtwizardError if ``new_file`` could not create ``path``."""
    shown = make_visible(str(path))
    if not path.name or path.name in (".", ".."):
        raise FtwizardError(f"{shown} is a folder, not a file.", "Name the new file.")
    for source in not_over:
        with contextlib.suppress(OSError):
            if path.samefile(source):
                raise FtwizardError(
                    f"{shown} is the input file ({make_visible(str(source))}).",
                    "Name another file. Input files are never overwritten.",
                )
    if os.path.lexists(path):
        state = "is a folder" if path.is_dir() else "already exists"
        raise FtwizardError(
            f"{shown} {state}. Existing files are never overwritten.", "Name a new file."
        )
    if not path.parent.is_dir():
        raise FtwizardError(
            f"Folder {make_visible(str(path.parent))} does not exist.",
            "Create it, or name another one.",
        )


def _sync(file: BinaryIO, path: Path) -> None:
    try:
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno in _FULL_DISK:
            raise
        raise FtwizardError(
            f"{make_visible(str(path))} could not be written: {error.strerror}.",
            "Name a file on another disk.",
        ) from None


@contextlib.contextmanager
def _explain_full_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL_DISK:
            raise
        raise FtwizardError(
            f"{_FULL_DISK[error.errno]} {make_visible(str(path.parent))}: {make_visible(path.name)} "
            "was not written.",
            "Free some disk space, or name a file on another disk.",
        ) from None


def publish(part: Path, path: Path) -> None:
    """Give the written file its name by a hard link, which never replaces a file, unlike a rename."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise FtwizardError(
            f"{make_visible(str(path))} was created by another process. Existing files are never "
            "overwritten.",
            "Name a new file.",
        ) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        require_free(path)  # without hard links, this check is the best that can be done
        part.rename(path)
