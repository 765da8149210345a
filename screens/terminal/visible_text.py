"""Foreign text with control and invisible characters highlighted."""

from __future__ import annotations

from itertools import groupby

from rich.text import Text

from ftwizard.screens import palette
from ftwizard.text import make_lines_visible, make_visible

BAD_CHARACTER = f"bold reverse {palette.WARNING}"
"""Style of a character that is shown by a symbol or its code point."""
_REPLACEMENT = "\ufffd"
"""Unicode replacement character, left by a decoding error."""


def mark_lines(text: str, limit: int | None = None) -> Text:
    """Return text with line breaks kept, and control and invisible characters named and highlighted.

    ``limit`` is the maximum number of characters.
    """
    if cut := limit is not None and len(text) > limit:
        text = text[:limit]
    if make_lines_visible(text) == text and _REPLACEMENT not in text:
        marked = Text(text)
    else:
        marked = Text()
        for is_bad, run in groupby(text, _is_bad):
            marked.append(make_lines_visible("".join(run)), BAD_CHARACTER if is_bad else "")
    return marked.append("…", "dim") if cut else marked


def mark_line(text: str, limit: int | None = None) -> Text:
    """Do the same as ``lines``, on one line."""
    if limit is not None and len(text) > limit:
        text = f"{text[: max(limit - 1, 0)]}…"
    marked = Text(no_wrap=True, overflow="ellipsis")
    for is_bad, run in groupby(text, _is_bad):
        marked.append(make_visible("".join(run)), BAD_CHARACTER if is_bad else "")
    return marked


def _is_bad(char: str) -> bool:
    return char == _REPLACEMENT or make_lines_visible(char) != char
