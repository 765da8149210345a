"""Description of one change that a repair makes."""

from __future__ import annotations

from typing import NamedTuple

from ftwizard.text import visible

MAX_SHOWN = 60
"""Maximum characters shown of a changed text."""


class RowChange(NamedTuple):
    """One fix in a row."""

    code: str
    """The code of the check in assets/checks.toml."""
    where: str
    """The path within the row, such as ``messages[1].content``; empty for the whole row."""
    was: str
    """The old value or a short description of it; control characters made visible."""
    now: str
    """The new value; empty if it was removed."""


def shorten(text: str) -> str:
    """Return a piece of the user's text as a change shows it."""
    return visible(text, MAX_SHOWN)
