"""An opened data file: a regular one, never waited for, the same from its first byte to its last."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from ftwizard.errors import FAILED, FtwizardError
from ftwizard.text import visible

BLOCK = 1 << 18
"""Bytes read at once: what fits a processor's second cache is quickest."""
_CHANGED = "Wait until it is written whole."


class FileProblem(FtwizardError):
    """A file holds no rows that can be read.

    ``code`` names why, and is stable; ``lines`` say where, if that is any one place.
    """

    def __init__(
        self,
        code: str,
        message: str,
        hint: str = "",
        exit_code: int = FAILED,
        lines: tuple[int, ...] = (),
    ) -> None:
        super().__init__(message, hint, exit_code)
        self.code = code
        self.lines = lines


class Identity(NamedTuple):
    """What tells a file, as it was, from another and from itself once it is changed."""

    device: int
    inode: int
    size: int
    modified_ns: int


class Source:
    """A regular file, opened for reading.

    Raises FileProblem where it is opened: not there, no regular file, not readable. A pipe or a
    device is refused before it is opened, and again by its descriptor: nothing is waited for.
    """

    def __init__(self, path: Path, expected: Identity | None = None) -> None:
        """Open ``path``; with ``expected``, raise FileProblem if it is no longer that file."""
        self.path = path
        self.shown = visible(str(path))
        self._descriptor = _opened(path, self.shown)
        self.identity = self._now()
        self.size = self.identity.size
        if expected not in (None, self.identity):
            self.close()
            raise self._changed()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; more than once does no harm."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def fileno(self) -> int:
        """Return the descriptor, which stays this object's own."""
        return self._descriptor

    def read(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes from ``offset`` on: fewer only where the file ends."""
        try:
            return os.pread(self._descriptor, count, offset)
        except OSError as error:
            raise _unreadable(self.shown, error) from None

    def blocks(self, start: int = 0) -> Iterator[bytes]:
        """Yield the bytes from ``start`` to what was the file's end, a block at a time."""
        while block := self.read(start, min(BLOCK, self.size - start)):
            start += len(block)
            yield block

    def check_unchanged(self) -> None:
        """Raise FileProblem if the file was written to, or replaced, since it was opened."""
        if self._now() != self.identity:
            raise self._changed()
        with contextlib.suppress(OSError):
            found = os.stat(self.path)  # noqa: PTH116 (as os.open takes it)
            if (found.st_dev, found.st_ino) == (self.identity.device, self.identity.inode):
                return
        raise FileProblem("changed", f"{self.shown} was replaced while it was read.", _CHANGED)

    def sha256(self) -> str:
        """Return the hash of the file's bytes, in hexadecimal."""
        digest = hashlib.sha256()
        for block in self.blocks():
            digest.update(block)
        return digest.hexdigest()

    def _now(self) -> Identity:
        found = os.fstat(self._descriptor)
        return Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    def _changed(self) -> FileProblem:
        return FileProblem("changed", f"{self.shown} changed while it was read.", _CHANGED)


def _opened(path: Path, shown: str) -> int:
    try:
        # Opening alone has effects on some devices: it rewinds a tape, it arms a watchdog.
        _require_regular(shown, os.stat(path).st_mode)  # noqa: PTH116 (it takes any name)
        # What became a pipe since would hold an open without O_NONBLOCK for ever.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise FileProblem(
            "not_found", f"There is no data file {shown}.", "Check the name: upper and lower case "
            "count.",
        ) from None  # fmt: skip
    except OSError as error:
        raise _unreadable(shown, error) from None
    except ValueError:
        raise FileProblem(
            "not_found", f"{shown} is no name that a file can have.", "Check it."
        ) from None
    try:
        _require_regular(shown, os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _unreadable(shown: str, error: OSError) -> FileProblem:
    if error.errno == errno.ELOOP:
        return FileProblem("unreadable", f"{shown} is a link that leads back to itself.")
    hint = "Ask its owner, or copy it." if error.errno in (errno.EACCES, errno.EPERM) else ""
    return FileProblem("unreadable", f"{shown} cannot be read: {error.strerror}.", hint)


def _require_regular(shown: str, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise FileProblem("not_a_file", f"{shown} is a folder.", "Name the data file in it.")
    if stat.S_ISSOCK(mode):
        raise FileProblem("not_a_file", f"{shown} is a socket.", "Save the rows to a file first.")
    what = "a pipe" if stat.S_ISFIFO(mode) else "a device"
    raise FileProblem(
        "not_a_file", f"{shown} is no regular file but {what}.", "Save the rows to a file first."
    )
