"""One change that a repair makes."""

from __future__ import annotations

from typing import NamedTuple

from ftwizard.text import visible

SHOWN = 60
"""Characters shown of what was changed."""


class Change(NamedTuple):
    """One thing that was mended in a row."""

    code: str
    """What a check called it, of assets/checks.toml."""
    where: str
    """The place in the row, as ``messages[1].content``; empty for the row as a whole."""
    was: str
    """What stood there, or what it was, in a few words; foreign text made visible."""
    now: str
    """What stands there now; empty where it was taken out."""


def shown(text: str) -> str:
    """Return a piece of foreign text as a change shows it."""
    return visible(text, SHOWN)
