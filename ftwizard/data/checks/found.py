"""Results of checks: findings in one row, and in a file as a whole."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

SHOWN_LINES = 1000


class Found(NamedTuple):
    """One finding in one row. The target sets its severity (``Target.severity``)."""

    code: str
    """One of assets/checks.toml."""
    message: str
    """The cause, with numbers and names of this row; text from the row goes through ``quoted``."""
    fix: str
    """The next action."""


class FileFound(msgspec.Struct, frozen=True, kw_only=True):
    """One finding in the file as a whole."""

    code: str
    message: str
    fix: str
    count: int
    """Number of affected rows; exact."""
    lines: list[int]
    """Lines of these rows, 1-based, in order; at most ``SHOWN_LINES``."""
