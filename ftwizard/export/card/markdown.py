"""Markdown of a model card: text from outside is escaped, so that it is shown and never rendered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ftwizard.text import make_visible

_SPECIAL = re.compile(r"([\\`*_\[\]|~$])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "://": ":&#47;&#47;", "@": "&#64;"}
"""``://`` and ``@``: otherwise addresses become links."""
_ENTITY = re.compile("|".join(_ENTITIES))
_TICKS = re.compile("`+")
_BLOCK = re.compile(r"^([-+=#]+|\d+(?=[.)]))(?=[.)]?(?:\s|$))")
"""What begins a heading, a list or a rule."""


def escape(text: str, limit: int = 400) -> str:
    """Escape text for a line of prose or a cell of a table."""
    visible = _ENTITY.sub(lambda match: _ENTITIES[match[0]], make_visible(text, limit))
    escaped = _SPECIAL.sub(r"\\\1", visible.strip())
    return _BLOCK.sub(lambda match: _escape_block(match[1]), escaped)


def _escape_block(mark: str) -> str:
    return f"{mark}\\" if mark.isdigit() else f"\\{mark}"


def code(text: str, limit: int = 120) -> str:
    """Format a name as code, also one with backticks; it is valid in a cell of a table, too."""
    visible = make_visible(text.strip(), limit).replace("|", r"\|") or " "
    ticks = "`" * (max(map(len, _TICKS.findall(visible)), default=0) + 1)
    gap = " " if "`" in (visible[0], visible[-1]) else ""
    return f"{ticks}{gap}{visible}{gap}{ticks}"


def table(heading: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int = 0) -> list[str]:
    """Format a table of cells that are Markdown; the last ``numbers`` columns are right-aligned."""
    words = len(heading) - numbers
    rule = [*["---"] * words, *["---:"] * numbers]
    return [f"| {' | '.join(cells)} |" for cells in (heading, rule, *rows)]


def fold(summary: str, lines: Sequence[str]) -> list[str]:
    """Fold lines below a summary, which opens them."""
    return ["<details>", f"<summary>{summary}</summary>", "", *lines, "", "</details>"]


def bullets(lines: Iterable[str]) -> list[str]:
    return [f"- {line}" for line in lines]
