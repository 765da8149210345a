"""Description of one change that a repair makes."""

from __future__ import annotations

from typing import NamedTuple

from ftwizard.text import make_visible

MAX_SHOWN = 60
"""Maximum characters shown of a changed text."""
Path = tuple[str | int, ...]
"""Keys and list indexes, from the row down."""


class RowChange(NamedTuple):
    """One fix in a row."""

    code: str
    """The code of the check in assets/check_codes.toml."""
    where: str
    """The path within the row, such as ``messages[1].content``; empty for the whole row."""
    was: str
    """The old value or a short description of it; control characters made visible."""
    now: str
    """The new value; empty if it was removed."""


def shorten(text: str) -> str:
    """Return a piece of the user's text as a change shows it."""
    return make_visible(text, MAX_SHOWN)


def format_path(path: Path) -> str:
    """Return a path within a row in the usual notation: ``messages[1].content``."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{shorten(step)}" for step in path)
    return "".join(steps).removeprefix(".")
