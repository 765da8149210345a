"""A file that is new, or not there at all: never over another one, never half written."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import sync_folder
from ftwizard.text import visible

_FULL = {
    errno.ENOSPC: "No space is left on the disk of",
    errno.EDQUOT: "Your share is used up on the disk of",
    errno.EFBIG: "No file may grow so large in",
}
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EACCES)


@contextlib.contextmanager
def new_file(path: Path, *, not_over: Iterable[Path] = ()) -> Iterator[BinaryIO]:
    """Yield a file to write; at the end it has the name ``path`` and is safely on the disk.

    It is written under another name beside it, which is gone if anything goes wrong. Raises
    FtwizardError where ``path`` is there already (also as a link to nothing), where it is one of
    ``not_over`` by any name, where no file can be made, and on a full disk.
    """
    require_free(path, not_over=not_over)
    part = path.with_name(f".{path.name[:100]}.{os.getpid()}.part")
    descriptor = _created(part, path)
    try:
        with _room_said(path), open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _name(part, path)
    finally:
        part.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # some file systems sync no folders
        sync_folder(path.parent)


def require_free(path: Path, *, not_over: Iterable[Path] = ()) -> None:
    """Raise FtwizardError where ``new_file`` could not make ``path``."""
    shown = visible(str(path))
    if not path.name or path.name in (".", ".."):
        raise FtwizardError(f"{shown} is a folder, not a file.", "Name the new file.")
    for other in not_over:
        with contextlib.suppress(OSError):
            if path.samefile(other):
                raise FtwizardError(
                    f"{shown} is the file that is read ({visible(str(other))}).",
                    "Name another one: the data itself is never written over.",
                )
    if os.path.lexists(path):
        what = "a folder" if path.is_dir() else "there already"
        raise FtwizardError(
            f"{shown} is {what}; nothing is ever written over.", "Name a file that is new."
        )
    if not path.parent.is_dir():
        raise FtwizardError(
            f"There is no folder {visible(str(path.parent))}.", "Make it, or name another one."
        )


def _created(part: Path, path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(part, flags, 0o666)
    except OSError as error:
        if error.errno in _FULL:
            raise _no_room(path, error) from None
        raise FtwizardError(
            f"{visible(str(path))} cannot be made: {error.strerror}.", "Name another one."
        ) from None


@contextlib.contextmanager
def _room_said(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise _no_room(path, error) from None


def _no_room(path: Path, error: OSError) -> FtwizardError:
    return FtwizardError(
        f"{_FULL[error.errno or 0]} {visible(str(path.parent))}: {visible(path.name)} was not written.",
        "Free some space, or name a file on another disk.",
    )


def _name(part: Path, path: Path) -> None:
    """Give the written file its name, unless another process has taken it meanwhile."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise FtwizardError(
            f"{visible(str(path))} was made by something else meanwhile; nothing is written over.",
            "Name a file that is new.",
        ) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        require_free(path)  # a file system without links: the best that it can do
        part.rename(path)
