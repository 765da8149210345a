"""Safe reading of the user's price file."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from ftwizard.errors import FtwizardError
from ftwizard.text import make_visible

MAX_BYTES = 1_000_000
"""A larger file is not a price file."""
_MOVE = (
    "Replace it with a text file of prices, or move it away. Each price is a table [[prices]] "
    "with provider, model, kind and usd."
)


def read_price_file(path: Path) -> str:
    """Return the text of a price file; empty if there is none. Raises FtwizardError."""
    shown = make_visible(str(path), 200)
    try:
        content = _bytes(path)
    except FileNotFoundError:
        return ""
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise FtwizardError(f"{shown} is not a regular file.", _MOVE) from None
        raise FtwizardError(
            f"{shown} cannot be read: {error.strerror}.", "Make it readable, or move it away."
        ) from None
    if content is None:
        raise FtwizardError(f"{shown} is not a regular file.", _MOVE)
    if len(content) > MAX_BYTES:
        raise FtwizardError(f"{shown} is over 1 MB, too large for a price file.", _MOVE)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise FtwizardError(
            f"{shown} cannot be read: line {line} is not UTF-8 text.", _MOVE
        ) from None


def _bytes(path: Path) -> bytes | None:
    """Return up to MAX_BYTES + 1 bytes of a file; None for a folder, device or pipe."""
    # Non-blocking: a pipe without a writer would hang.
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            return None
        with os.fdopen(opened, "rb", closefd=False) as file:
            return file.read(MAX_BYTES + 1)
    finally:
        os.close(opened)
