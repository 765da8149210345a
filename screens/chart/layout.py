"""Chart layout: from a figure and a size to screen rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from ftwizard.screens.chart.canvas import BLANK
from ftwizard.screens.chart.model import MARKS, ChartFigure
from ftwizard.screens.chart.plot_area import Body
from ftwizard.text import make_visible
from ftwizard.timeseries import Series

MIN_WIDTH, MIN_HEIGHT = 20, 5
# Legend, axis and labels.
_OUTER_ROWS = 3
_LABEL_WIDTH = 5
# Columns after the newest point for its value, if the chart is wide enough.
_MARGIN = 8
_MIN_WIDTH_FOR_MARGIN = 60

_SAMPLES = {"solid": "──", "dashed": "╌{}╌", "faint": "··"}
_ASCII_SAMPLES = {"solid": "--", "dashed": "-{}-", "faint": "::"}
_SEPARATOR = "  "
# Maximum name lengths, tried in order until all entries fit.
_NAME_LENGTHS = (40, 16, 10, 5, 0)


def lay_out(figure: ChartFigure, width: int, height: int) -> list[Strip]:
    """Return ``height`` strips of ``width`` cells, at least MIN_HEIGHT and MIN_WIDTH."""
    margin = _MARGIN if width >= _MIN_WIDTH_FOR_MARGIN else 0
    label_width = _LABEL_WIDTH
    body = Body(figure, width - label_width - 1 - margin, height - _OUTER_ROWS, margin)
    widest = max(len(tick.label) for tick in body.scale.ticks)
    if widest > label_width:
        label_width = min(widest, width // 2)
        body = Body(figure, width - label_width - 1 - margin, height - _OUTER_ROWS, margin)
    body.draw()
    return [
        _build_legend_row(figure, body, label_width + 1, width),
        *_build_body_rows(figure, body, label_width, width),
        _build_axis_row(figure, body, label_width, width),
        _build_label_row(figure, body, label_width + 1, width),
    ]


def lay_out_message(text: str, figure: ChartFigure, width: int, height: int) -> list[Strip]:
    """Return an empty chart with a message in its center."""
    blank = Strip.blank(width, figure.styles.text)
    shown = Strip([Segment(text[:width].center(width), figure.styles.label)], width)
    return [shown if row == height // 2 else blank for row in range(height)]


def _build_legend_row(figure: ChartFigure, body: Body, indent: int, width: int) -> Strip:
    styles = figure.styles
    entries = []
    if figure.cursor is not None:
        entries.append(LegendEntry(figure.x_name, "", _format_x(figure.cursor), styles.label))
    for line, style in zip(figure.lines, styles.lines, strict=True):
        name = make_printable(line.name, ascii=figure.ascii)
        if name:
            samples = _ASCII_SAMPLES if figure.ascii else _SAMPLES
            sample = samples[line.style].format(line.sign(ascii=figure.ascii))
            entries.append(LegendEntry(sample, name, _format_value(line.series, figure), style))
    notes = [*body.notes, *figure.notes, *_describe_marks(figure)]
    row = build_legend(entries, notes, width - indent, styles.text, styles.label)
    return Strip([Segment(" " * indent, styles.text), *row], width)


def _format_value(series: Series, figure: ChartFigure) -> str:
    """Return the newest value, or the value nearest to the cursor, as text."""
    point = series[-1] if len(series) else None
    if figure.cursor is not None:
        point = series.nearest(figure.cursor)
    return "-" if point is None else figure.format_value(point[1])


def _describe_marks(figure: ChartFigure) -> list[str]:
    """Explain the symbols on the axis, with the position of the best and of each last finding."""
    last_marks = {(mark.kind, mark.name): mark for mark in figure.visible_marks()}
    notes = []
    for mark in reversed(last_marks.values()):
        has_position = mark.kind != "checkpoint" and not mark.label
        position = f" {_format_x(mark.x)}" if has_position else ""
        name = make_printable(mark.name, ascii=figure.ascii) or mark.kind
        notes.append(f"{MARKS[mark.kind][figure.ascii]} {name}{position}")
    return notes


def _format_x(x: float) -> str:
    """Format an x in full: ``1,250``, ``0.75``."""
    return f"{x:,.0f}" if x == int(x) else f"{x:,.2f}"


def _build_body_rows(figure: ChartFigure, body: Body, label_width: int, width: int) -> list[Strip]:
    styles = figure.styles
    labels = {body.row_of(tick.value): tick.label for tick in body.scale.ticks}
    plain, ticked = ("|", "+") if figure.ascii else ("│", "┤")
    owners = {BLANK: styles.text, body.guide: styles.axis, **dict(enumerate(styles.lines))}
    strips = []
    for row in range(body.canvas.height):
        label = labels.get(row, "")
        segments = [
            Segment(label[:label_width].rjust(label_width), styles.label),
            Segment(ticked if label else plain, styles.axis),
        ]
        segments += [Segment(text, owners[owner]) for text, owner in body.canvas.row(row)]
        strips.append(Strip(segments, width))
    return strips


def _build_axis_row(figure: ChartFigure, body: Body, label_width: int, width: int) -> Strip:
    styles = figure.styles
    corner, line, ticked = ("+", "-", "+") if figure.ascii else ("└", "─", "┬")
    cells = [(line, styles.axis)] * body.columns
    for tick in body.x_ticks:
        cells[body.column_of(tick.value)] = (ticked, styles.axis)
    best = MARKS["best"][figure.ascii]
    for mark in figure.visible_marks():
        column = body.column_of(mark.x)
        if mark.kind == "finding" and cells[column][0] == best:  # they often start there: show both
            column = min(column + 1, body.columns - 1)
        cells[column] = (MARKS[mark.kind][figure.ascii], styles.marks[mark.kind])
    segments = [Segment(" " * label_width + corner, styles.axis)]
    segments += [Segment(char, style) for char, style in cells]
    segments.append(Segment(" " * body.margin, styles.text))
    return Strip(segments, width).simplify()


def _build_label_row(figure: ChartFigure, body: Body, indent: int, width: int) -> Strip:
    row = [" "] * width
    name_start = width - len(figure.x_name)
    end = name_start - 1  # numbers without a unit say nothing
    next_free = 0
    for tick in body.x_ticks:
        length = len(tick.label)
        start = indent + body.column_of(tick.value) - length // 2
        start = min(max(start, 0), width - length)
        if start >= next_free and start + length <= end:
            row[start : start + length] = tick.label
            next_free = start + length + 1
    row[name_start:] = figure.x_name
    return Strip([Segment("".join(row), figure.styles.label)], width)


class LegendEntry(NamedTuple):
    """A line in the legend; ``name`` is printable."""

    sample: str
    name: str
    value: str
    style: Style


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
        row = _join_entries(entries, length, text, quiet)
        if Segment.get_line_length(row) <= width:
            break
    count = len(entries)
    while Segment.get_line_length(row) > width:
        count -= 1
        row = _join_entries(entries[:count], length, text, quiet)
    used_cells, note = Segment.get_line_length(row), ""
    for part in notes:
        longer = f"{note}{_SEPARATOR}{part}" if note else part
        if used_cells + 2 + cell_len(longer) <= width:
            note = longer
    space = width - used_cells - cell_len(note)
    return [*row, Segment(" " * space, text), Segment(note, quiet)]


def _join_entries(
    entries: Sequence[LegendEntry], length: int, text: Style, quiet: Style
) -> list[Segment]:
    row: list[Segment] = []
    for entry in entries:
        if row:
            row.append(Segment(_SEPARATOR, text))
        row.append(Segment(entry.sample, entry.style))
        if name := _cut(entry.name, length):
            row.append(Segment(f" {name}", quiet))
        row.append(Segment(f" {entry.value}", text))
    return row


def _cut(name: str, length: int) -> str:
    """Cut a name to at most ``length`` cells; ``~`` marks the cut."""
    if cell_len(name) <= length:
        return name
    return set_cell_size(name, length - 1).rstrip() + "~" if length else ""
