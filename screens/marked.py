"""Foreign text in which what no eye would see stands out."""

from __future__ import annotations

from itertools import groupby

from rich.text import Text

from ftwizard.screens import palette
from ftwizard.text import visible, visible_lines

BAD_CHARACTER = f"bold reverse {palette.WARNING}"
"""Of a character that is shown by a sign, or by its number."""
_LOST = "\ufffd"
"""Stands where a character was lost."""


def lines(text: str, limit: int | None = None) -> Text:
    """Return text with its line breaks; each character that would be obeyed, or that nobody would
    see, is shown by its name and stands out. ``limit`` counts characters."""
    if cut := limit is not None and len(text) > limit:
        text = text[:limit]
    if visible_lines(text) == text and _LOST not in text:
        marked = Text(text)
    else:
        marked = Text()
        for bad, run in groupby(text, _is_bad):
            marked.append(visible_lines("".join(run)), BAD_CHARACTER if bad else "")
    return marked.append("…", "dim") if cut else marked


def line(text: str, limit: int | None = None) -> Text:
    """Do as ``lines`` does, on one line."""
    if limit is not None and len(text) > limit:
        text = f"{text[: max(limit - 1, 0)]}…"
    marked = Text(no_wrap=True, overflow="ellipsis")
    for bad, run in groupby(text, _is_bad):
        marked.append(visible("".join(run)), BAD_CHARACTER if bad else "")
    return marked


def _is_bad(char: str) -> bool:
    return char == _LOST or visible_lines(char) != char
