"""Which glyphs a terminal is sent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from rich.cells import cell_len

from ftwizard.text import visible

# What stands for a glyph where only ASCII is shown; each is as wide as what it replaces.
_ASCII = str.maketrans(
    {
        "✓": "+", "✗": "x", "■": "#", "●": "*", "○": "o", "◆": "o", "•": "*", "▸": ">", "▾": "v",
        "★": "*", "▲": "^", "…": "~", "·": "-", "–": "-", "—": "-", "‹": "<", "›": ">", "→": ">",
        "←": "<", "◂": "<", "┅": "~", "↑": "^", "↓": "v", "×": "x", "≤": "<", "≥": ">", "“": '"', "”": '"', "’": "'",
        "─": "-", "━": "=", "│": "|", "┃": "|", "┌": "+", "┐": "+", "└": "+", "┘": "+", "├": "+",
        "┤": "+", "┬": "+", "┴": "+", "┼": "+", "╭": "+", "╮": "+", "╰": "+", "╯": "+", "╸": "=",
        "╺": "-", "▁": "_", "▂": ".", "▃": "-", "▄": "=", "▅": "+", "▆": "*", "▇": "#", "█": "#",
        "▏": "|", "▎": "|", "▍": "|", "▌": "|", "▋": "|", "▊": "|", "▉": "#", "░": ".", "▒": ":",
        "▔": "-", "▕": "|", "°": "o", "µ": "u", "−": "-", "⏎": "<", "⎋": "<", "^": "^",
    }
)  # fmt: skip


@lru_cache(4096)
def harmless(text: str, ascii: bool) -> str:
    """Return text of the same width that no terminal obeys; with ``ascii``, of ASCII alone."""
    # Cell widths must stay: a control character has been counted as none or one.
    shown = "".join(_cell(char) for char in text)
    if not ascii:
        return shown
    return "".join(
        char if char.isascii() else "?" * cell_len(char) for char in shown.translate(_ASCII)
    )


def _cell(char: str) -> str:
    shown = visible(char)
    return shown if shown == char else shown[:1] if cell_len(char) else ""


def shows_unicode() -> bool:
    """Say whether the locale's character set is UTF-8; where none is named, it is taken for that."""
    said = _exported()
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        if value := said.get(name):
            return "utf" in value.lower()
    return True


def _exported() -> Mapping[str, str]:
    """Return the environment as it was given: Python sets LC_CTYPE in its own (PEP 538)."""
    try:
        given = Path("/proc/self/environ").read_bytes().decode(errors="replace")
    except OSError:  # not Linux
        return os.environ
    return dict(pair.split("=", 1) for pair in given.split("\0") if "=" in pair)
