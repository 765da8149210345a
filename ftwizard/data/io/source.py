"""An opened data file: a regular file that must not change while it is read."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

from ftwizard import user_paths
from ftwizard.errors import FAILED, FtwizardError
from ftwizard.text import make_visible

BLOCK = 1 << 18
"""Bytes read at once; a size that fits the L2 cache is fastest."""
_CHANGED = "Wait until it is completely written."


class FileProblem(FtwizardError):
    """A file that holds no readable rows.

    ``lines`` are the lines concerned, if any.
    """

    def __init__(
        self,
        code: str,
        message: str,
        hint: str = "",
        exit_code: int = FAILED,
        lines: tuple[int, ...] = (),
        candidates: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, hint, exit_code, code=code, candidates=candidates)
        self.lines = lines


class FileIdentity(NamedTuple):
    """Identity and state of a file, to detect that it was replaced or changed."""

    device: int
    inode: int
    size: int
    modified_ns: int


class DataSource:
    """A regular file, opened for reading.

    Raises FileProblem on opening if the file is missing, unreadable or not a regular file. Pipes and
    devices are rejected before they are opened, and again by descriptor, so opening never blocks.
    """

    def __init__(self, path: Path, expected: FileIdentity | None = None) -> None:
        """Open ``path``; raise FileProblem if it no longer matches ``expected``."""
        self.path = path
        self.display_name = make_visible(str(path))
        self._descriptor = _open(path, self.display_name)
        self.identity = self._read_identity()
        self.size = self.identity.size
        if expected not in (None, self.identity):
            self.close()
            raise self._changed_problem()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; repeated calls are harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def fileno(self) -> int:
        """Return the descriptor, which this object still owns."""
        return self._descriptor

    def read(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes from ``offset``; fewer only at the end of the file."""
        try:
            return os.pread(self._descriptor, count, offset)
        except OSError as error:
            raise _unreadable_problem(self.display_name, error) from None

    def blocks(self, start: int = 0) -> Iterator[bytes]:
        """Yield blocks of bytes from ``start`` to the end that the file had when it was opened."""
        while block := self.read(start, min(BLOCK, self.size - start)):
            start += len(block)
            yield block

    def check_unchanged(self) -> None:
        """Raise FileProblem if the file was modified or replaced since it was opened."""
        if self._read_identity() != self.identity:
            raise self._changed_problem()
        with contextlib.suppress(OSError):
            status = os.stat(self.path)  # noqa: PTH116 (takes the same names as os.open)
            if (status.st_dev, status.st_ino) == (self.identity.device, self.identity.inode):
                return
        message = f"{self.display_name} was replaced while being read."
        raise FileProblem("changed", message, _CHANGED)

    def sha256(self) -> str:
        """Return the SHA-256 hash of the file, in hexadecimal."""
        digest = hashlib.sha256()
        for block in self.blocks():
            digest.update(block)
        return digest.hexdigest()

    def _read_identity(self) -> FileIdentity:
        status = os.fstat(self._descriptor)
        return FileIdentity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    def _changed_problem(self) -> FileProblem:
        return FileProblem("changed", f"{self.display_name} changed while being read.", _CHANGED)


def _open(path: Path, shown: str) -> int:
    try:
        # Opening a device can have side effects: it rewinds a tape, it arms a watchdog.
        _require_regular(shown, os.stat(path).st_mode)  # noqa: PTH116 (accepts any name)
        # If the path became a pipe meanwhile, an open without O_NONBLOCK would block forever.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        message = f"Data file {shown} does not exist."
        hint = user_paths.suggest_file(path) or "Check the name, including upper and lower case."
        raise FileProblem("not_found", message, hint) from None
    except OSError as error:
        raise _unreadable_problem(shown, error) from None
    except ValueError:
        problem = f"{shown} is not a valid file name."
        raise FileProblem("not_found", problem, "Check the name.") from None
    try:
        _require_regular(shown, os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _unreadable_problem(shown: str, error: OSError) -> FileProblem:
    if error.errno == errno.ELOOP:
        return FileProblem("unreadable", f"{shown} is a symbolic link loop.")
    hint = (
        "Ask its owner for read permission, or copy it."
        if error.errno in (errno.EACCES, errno.EPERM)
        else ""
    )
    return FileProblem("unreadable", f"{shown} could not be read: {error.strerror}.", hint)


def _require_regular(shown: str, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise FileProblem("not_a_file", f"{shown} is a folder.", "Name the data file in it.")
    if stat.S_ISSOCK(mode):
        raise FileProblem("not_a_file", f"{shown} is a socket.", "Save the rows to a file first.")
    kind = "a pipe" if stat.S_ISFIFO(mode) else "a device"
    message = f"{shown} is {kind}, not a file."
    raise FileProblem("not_a_file", message, "Save the rows to a file first.")
