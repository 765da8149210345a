"""What a check answers with."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

SHOWN_LINES = 1000


class Found(NamedTuple):
    """One thing in one row. How grave it is, the target says (``Target.severity``)."""

    code: str
    """One of assets/checks.toml."""
    message: str
    """The cause in plain words, with numbers and names of this row; foreign text by ``visible``."""
    fix: str
    """What to do next."""


class FileFound(msgspec.Struct, frozen=True, kw_only=True):
    """One thing in the file as a whole."""

    code: str
    message: str
    fix: str
    count: int
    """How many rows it touches; exact."""
    lines: list[int]
    """Of these rows, 1-based, in order; at most ``SHOWN_LINES``."""
