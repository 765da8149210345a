"""A chart laid out: from a figure and a size to the rows of a screen."""

from __future__ import annotations

from rich.segment import Segment
from textual.strip import Strip

from ftwizard.screens.widgets.body import Body
from ftwizard.screens.widgets.canvas import BLANK
from ftwizard.screens.widgets.figure import MARKS, Figure
from ftwizard.screens.widgets.legend import Entry, legend, printable, sample
from ftwizard.series import Series

LEAST_WIDTH, LEAST_HEIGHT = 20, 5
# Legend, axis and labels.
_ROWS_AROUND = 3
_LABEL_WIDTH = 5
# Room beyond the newest point for its value, where the chart is wide enough to spare it.
_MARGIN = 8
_WIDE = 60


def lay_out(figure: Figure, width: int, height: int) -> list[Strip]:
    """Return ``height`` strips of ``width`` cells, at least LEAST_HEIGHT and LEAST_WIDTH."""
    margin = _MARGIN if width >= _WIDE else 0
    label_width = _LABEL_WIDTH
    body = Body(figure, width - label_width - 1 - margin, height - _ROWS_AROUND, margin)
    widest = max(len(tick.label) for tick in body.scale.ticks)
    if widest > label_width:
        label_width = min(widest, width // 2)
        body = Body(figure, width - label_width - 1 - margin, height - _ROWS_AROUND, margin)
    body.draw()
    return [
        _legend_row(figure, body, label_width + 1, width),
        *_body_rows(figure, body, label_width, width),
        _axis_row(figure, body, label_width, width),
        _label_row(figure, body, label_width + 1, width),
    ]


def message(text: str, figure: Figure, width: int, height: int) -> list[Strip]:
    """Return an empty chart with a sentence in its middle."""
    blank = Strip.blank(width, figure.styles.text)
    shown = Strip([Segment(text[:width].center(width), figure.styles.label)], width)
    return [shown if row == height // 2 else blank for row in range(height)]


def _legend_row(figure: Figure, body: Body, indent: int, width: int) -> Strip:
    styles = figure.styles
    entries = []
    if figure.cursor is not None:
        entries.append(Entry(figure.x_name, "", _plain(figure.cursor), styles.label))
    for line, style in zip(figure.lines, styles.lines, strict=True):
        name = printable(line.name, ascii=figure.ascii)
        if name:
            drawn = sample(line.style, line.sign(ascii=figure.ascii), ascii=figure.ascii)
            entries.append(Entry(drawn, name, _value(line.series, figure), style))
    notes = [*body.notes, *figure.notes, *_mark_notes(figure)]
    row = legend(entries, notes, width - indent, styles.text, styles.label)
    return Strip([Segment(" " * indent, styles.text), *row], width)


def _value(series: Series, figure: Figure) -> str:
    """Return the newest value, or the one nearest to the cursor, as text."""
    point = series[-1] if len(series) else None
    if figure.cursor is not None:
        point = series.nearest(figure.cursor)
    return "-" if point is None else figure.written(point[1])


def _mark_notes(figure: Figure) -> list[str]:
    """Explain the signs on the axis, and say where the best and the last of each finding are."""
    last = {(mark.kind, mark.name): mark for mark in figure.visible_marks()}
    notes = []
    for mark in reversed(last.values()):
        said = mark.kind == "checkpoint" or mark.label
        where = "" if said else f" {_plain(mark.x)}"
        name = printable(mark.name, ascii=figure.ascii) or mark.kind
        notes.append(f"{MARKS[mark.kind][figure.ascii]} {name}{where}")
    return notes


def _plain(x: float) -> str:
    """Write an x in full: ``1,250``, ``0.75``."""
    return f"{x:,.0f}" if x == int(x) else f"{x:,.2f}"


def _body_rows(figure: Figure, body: Body, label_width: int, width: int) -> list[Strip]:
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


def _axis_row(figure: Figure, body: Body, label_width: int, width: int) -> Strip:
    styles = figure.styles
    corner, line, ticked = ("+", "-", "+") if figure.ascii else ("└", "─", "┬")
    cells = [(line, styles.axis)] * body.columns
    for tick in body.x_ticks:
        cells[body.column_of(tick.value)] = (ticked, styles.axis)
    best = MARKS["best"][figure.ascii]
    for mark in figure.visible_marks():
        column = body.column_of(mark.x)
        if mark.kind == "finding" and cells[column][0] == best:
            column = min(column + 1, body.columns - 1)  # much begins at the best: both are seen
        cells[column] = (MARKS[mark.kind][figure.ascii], styles.marks[mark.kind])
    segments = [Segment(" " * label_width + corner, styles.axis)]
    segments += [Segment(char, style) for char, style in cells]
    segments.append(Segment(" " * body.margin, styles.text))
    return Strip(segments, width).simplify()


def _label_row(figure: Figure, body: Body, indent: int, width: int) -> Strip:
    row = [" "] * width
    name_at = width - len(figure.x_name)
    end = name_at - 1 if body.margin else width  # where there is room, the name comes first
    free = 0
    for tick in body.x_ticks:
        length = len(tick.label)
        at = indent + body.column_of(tick.value) - length // 2
        at = min(max(at, 0), width - length)
        if at >= free and at + length <= end:
            row[at : at + length] = tick.label
            free = at + length + 1
    if name_at > free:
        row[name_at:] = figure.x_name
    return Strip([Segment("".join(row), figure.styles.label)], width)
