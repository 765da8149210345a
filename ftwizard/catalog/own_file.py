"""The file of a person's own prices, as text: a regular file of a size that a list of prices has."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from ftwizard.errors import FtwizardError
from ftwizard.text import visible

MOST_BYTES = 1_000_000
"""Of a file of prices: more is no such file."""
_MOVE = (
    "Put a text file of prices there, or move it away. A price is a table [[prices]] with "
    "provider, model, kind and usd."
)


def read_text(path: Path) -> str:
    """Return the text of a file of prices, empty where there is none; raises FtwizardError."""
    shown = visible(str(path), 200)
    try:
        found = _bytes(path)
    except FileNotFoundError:
        return ""
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise FtwizardError(f"{shown} is no file.", _MOVE) from None
        raise FtwizardError(
            f"{shown} cannot be read: {error.strerror}.", "Make it readable, or move it away."
        ) from None
    if found is None:
        raise FtwizardError(f"{shown} is no file.", _MOVE)
    if len(found) > MOST_BYTES:
        raise FtwizardError(f"{shown} is over 1 MB, which is no list of prices.", _MOVE)
    try:
        return found.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = found[: error.start].count(b"\n") + 1
        raise FtwizardError(
            f"{shown} cannot be read: line {line} is no text in UTF-8.", _MOVE
        ) from None


def _bytes(path: Path) -> bytes | None:
    """Return a file's first bytes, one more than it may have; None for a folder, device or pipe."""
    # Opened without waiting: a pipe that nobody writes to would hold everything up.
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            return None
        with os.fdopen(opened, "rb", closefd=False) as file:
            return file.read(MOST_BYTES + 1)
    finally:
        os.close(opened)
