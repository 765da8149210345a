"""Text layout: hanging indents, tables and bars."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from ftwizard.screens import palette

_BAR = "━"


def wrap_hanging(text: Text, hang: int, width: int) -> Text:
    """Wrap text at words, with continuation lines indented by ``hang``.

    ``width`` counts cells.
    """
    room, lines = max(20, width - hang), []
    text.rstrip()
    for line in text.split("\n", allow_blank=True) or [text]:
        first, *below = line[hang:].wrap(Console(width=room), room) or [Text()]
        lines += [line[:hang] + first, *(Text(" " * hang) + part for part in below)]
    return Text("\n").join(lines)


def build_note(mark: Text, text: str) -> Table:
    """Return a mark of one cell, and a text that wraps next to it."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    grid.add_row(mark, Text(text))
    return grid


def build_list(lines: Iterable[str]) -> Table:
    """Return lines of which each begins with a dot, and wraps behind it."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for line in lines:
        grid.add_row("·", Text(line, "not dim"))
    return grid


def build_table(rows: Iterable[tuple[Text | str, RenderableType]]) -> Table:
    """Return names and values in two columns; long values wrap within theirs."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True, min_width=8)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, Text(value) if isinstance(value, str) else value)
    return grid


def draw_bar(share: float | None, width: int) -> Text:
    """Return a progress bar that is readable without color; a line if the share is unknown."""
    if share is None:
        return Text("─" * width, "dim")
    filled = round(max(0.0, min(1.0, share)) * width)
    return Text.assemble((_BAR * filled, palette.ACCENT), ("─" * (width - filled), "dim"))
