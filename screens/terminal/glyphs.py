"""Terminal-safe glyphs and their ASCII replacements."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from rich.cells import cell_len

from ftwizard.text import make_visible

# ASCII replacements, each as wide as its glyph.
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
def make_printable(text: str, ascii: bool) -> str:
    """Replace control characters, keeping the width; with ``ascii``, all non-ASCII ones too."""
    # A control character may have been counted as zero or one cell.
    printable = "".join(_cell(char) for char in text)
    if not ascii:
        return printable
    return "".join(
        char if char.isascii() else "?" * cell_len(char) for char in printable.translate(_ASCII)
    )


def _cell(char: str) -> str:
    printable = make_visible(char)
    return printable if printable == char else printable[:1] if cell_len(char) else ""


def supports_unicode() -> bool:
    """Return whether the locale uses UTF-8; assume so if no locale is set."""
    environment = _original_environment()
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        if value := environment.get(name):
            return "utf" in value.lower()
    return True


def _original_environment() -> Mapping[str, str]:
    """Return the environment of the process start: Python sets LC_CTYPE itself (PEP 538)."""
    try:
        raw = Path("/proc/self/environ").read_bytes().decode(errors="replace")
    except OSError:  # not Linux
        return os.environ
    return dict(pair.split("=", 1) for pair in raw.split("\0") if "=" in pair)
