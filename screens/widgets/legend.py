"""The first row of a chart: what each line looks like, is called and stands at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style

from ftwizard.screens.widgets.trace import LineStyle
from ftwizard.text import visible

_SAMPLES = {"solid": "──", "dashed": "╌{}╌", "faint": "··"}
_ASCII_SAMPLES = {"solid": "--", "dashed": "-{}-", "faint": "::"}
_BETWEEN = "  "
# Names are cut to these lengths, one after the other, until all entries fit.
_NAME_LENGTHS = (40, 16, 10, 5, 0)


class Entry(NamedTuple):
    """One line in the legend; ``name`` is printable."""

    sample: str
    name: str
    value: str
    style: Style


def sample(style: LineStyle, marker: str, *, ascii: bool) -> str:
    """Return a short piece of a line in its style."""
    samples = _ASCII_SAMPLES if ascii else _SAMPLES
    return samples[style].format(marker)


def printable(name: str, *, ascii: bool) -> str:
    """Return a foreign name on one line, without anything that a terminal obeys."""
    shown = visible(name)
    return shown.encode("ascii", "backslashreplace").decode() if ascii else shown


def legend(
    entries: Sequence[Entry], notes: Sequence[str], width: int, text: Style, quiet: Style
) -> list[Segment]:
    """Return the row, exactly ``width`` cells: entries on the left, notes on the right.

    Where it is narrow, names are cut first, then the last entries go; a note that does not fit
    beside them is left out.
    """
    for length in _NAME_LENGTHS:
        row = _BETWEEN.join(_plain(entry, length) for entry in entries)
        if cell_len(row) <= width:
            break
    segments: list[Segment] = []
    used = 0
    for entry in entries:
        name = _cut(entry.name, length)
        size = cell_len(_plain(entry, length)) + (len(_BETWEEN) if used else 0)
        if used + size > width:
            break
        if used:
            segments.append(Segment(_BETWEEN, text))
        segments.append(Segment(entry.sample, entry.style))
        if name:
            segments.append(Segment(f" {name}", quiet))
        segments.append(Segment(f" {entry.value}", text))
        used += size
    note = ""
    for part in notes:
        longer = f"{note}{_BETWEEN}{part}" if note else part
        if used + 2 + cell_len(longer) <= width:
            note = longer
    space = width - used - cell_len(note)
    return [*segments, Segment(" " * space, text), Segment(note, quiet)]


def _plain(entry: Entry, length: int) -> str:
    return " ".join(part for part in (entry.sample, _cut(entry.name, length), entry.value) if part)


def _cut(name: str, length: int) -> str:
    """Return a name in at most so many cells; ``~`` stands for what is cut off."""
    if cell_len(name) <= length:
        return name
    return set_cell_size(name, length - 1).rstrip() + "~" if length else ""
