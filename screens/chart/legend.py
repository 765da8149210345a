"""Legend row of a chart: line samples, names and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style

from ftwizard.screens.chart.line_renderer import LineStyle
from ftwizard.text import make_visible

_SAMPLES = {"solid": "──", "dashed": "╌{}╌", "faint": "··"}
_ASCII_SAMPLES = {"solid": "--", "dashed": "-{}-", "faint": "::"}
_SEPARATOR = "  "
# Maximum name lengths, tried in order until all entries fit.
_NAME_LENGTHS = (40, 16, 10, 5, 0)


class LegendEntry(NamedTuple):
    """A line in the legend; ``name`` is printable."""

    sample: str
    name: str
    value: str
    style: Style


def build_sample(style: LineStyle, marker: str, *, ascii: bool) -> str:
    """Return a short sample of a line style."""
    samples = _ASCII_SAMPLES if ascii else _SAMPLES
    return samples[style].format(marker)


def make_printable(name: str, *, ascii: bool) -> str:
    """Return a foreign name on one line, without control characters."""
    text = make_visible(name)
    return text.encode("ascii", "backslashreplace").decode() if ascii else text


def build_legend(
    entries: Sequence[LegendEntry], notes: Sequence[str], width: int, text: Style, quiet: Style
) -> list[Segment]:
    """Return the row, exactly ``width`` cells wide: entries on the left, notes on the right.

    If it is narrow, names are cut first, then the last entries are dropped. Notes that do not fit
    are left out.
    """
    for length in _NAME_LENGTHS:
        row = _SEPARATOR.join(_format_entry(entry, length) for entry in entries)
        if cell_len(row) <= width:
            break
    segments: list[Segment] = []
    used_cells = 0
    for entry in entries:
        name = _cut(entry.name, length)
        size = cell_len(_format_entry(entry, length)) + (len(_SEPARATOR) if used_cells else 0)
        if used_cells + size > width:
            break
        if used_cells:
            segments.append(Segment(_SEPARATOR, text))
        segments.append(Segment(entry.sample, entry.style))
        if name:
            segments.append(Segment(f" {name}", quiet))
        segments.append(Segment(f" {entry.value}", text))
        used_cells += size
    note = ""
    for part in notes:
        longer = f"{note}{_SEPARATOR}{part}" if note else part
        if used_cells + 2 + cell_len(longer) <= width:
            note = longer
    space = width - used_cells - cell_len(note)
    return [*segments, Segment(" " * space, text), Segment(note, quiet)]


def _format_entry(entry: LegendEntry, length: int) -> str:
    return " ".join(part for part in (entry.sample, _cut(entry.name, length), entry.value) if part)


def _cut(name: str, length: int) -> str:
    """Cut a name to at most ``length`` cells; ``~`` marks the cut."""
    if cell_len(name) <= length:
        return name
    return set_cell_size(name, length - 1).rstrip() + "~" if length else ""
