"""Plot area of a chart: maps values to dots and draws them."""

from __future__ import annotations

from collections.abc import Iterable
from math import exp, isfinite, log

from ftwizard.screens.chart.axes import Scale, build_x_ticks, build_y_scale, find_y_range
from ftwizard.screens.chart.canvas import Canvas, ColumnSpan, Pen
from ftwizard.screens.chart.model import ChartFigure, ChartLine, Mark
from ftwizard.timeseries import Interval

# Points get markers if each has this many columns.
_COLUMNS_PER_MARKER = 2
# Drawing order: later styles cover earlier ones in the same cell.
_DRAW_ORDER = ("faint", "solid", "dashed")
# Maximum distance of values outside the chart, in chart heights; beyond it, slopes look the same.
_MAX_HEIGHTS_AWAY = 20.0

NO_LOG = "log scale needs values above 0"
LOG_HINT = "l: log scale"
# Suggest a log scale if the newer half takes at most this share of the height.
_MAX_FLAT_SHARE = 1 / 8
_MIN_VALUES = 12


class Body:
    """A canvas of ``columns`` x ``rows`` cells between the axes, plus ``margin`` columns on the right."""

    def __init__(self, figure: ChartFigure, columns: int, rows: int, margin: int) -> None:
        self.columns = columns
        self.margin = margin
        self.canvas = Canvas(columns + margin, rows, ascii=figure.ascii)
        self.notes: list[str] = []
        self.guide = len(figure.lines)
        """Owner of the vertical guides; a line's owner is its index in the figure."""
        self._figure = figure
        self._across = columns * self.canvas.dots_per_column
        self._down = rows * self.canvas.dots_per_row
        self._slices = [line.series.columns(*figure.window, self._across) for line in figure.lines]
        self.scale = figure.label_ticks(self._choose_scale())
        ends = [x for line in figure.lines for x in (line.series.first_x, line.series.last_x)]
        whole = all(x is None or x == int(x) for x in ends)
        self.x_ticks = build_x_ticks(*figure.window, columns, whole=whole)

    def column_of(self, x: float) -> int:
        x0, x1 = self._figure.window
        return min(int((x - x0) / (x1 - x0) * self.columns), self.columns - 1)

    def row_of(self, value: float) -> int:
        """Return the row of a value; outside the canvas if the value is outside the axis."""
        return self._dot_row(value) // self.canvas.dots_per_row

    def draw(self) -> None:
        lines = sorted(
            enumerate(self._figure.lines), key=lambda pair: _DRAW_ORDER.index(pair[1].style)
        )
        for owner, line in lines:
            spans = [
                ColumnSpan(x, self._dot_row(column[1]), self._dot_row(column[0]))
                for x, column in enumerate(self._slices[owner])
                if column is not None
            ]
            lone = line.sign(ascii=self._figure.ascii) or ("*" if self._figure.ascii else "•")
            gaps = line.series.gaps(*self._figure.window, self._across)
            breaks = {x for x, gap in enumerate(gaps) if gap}
            pen = Pen(self.canvas, self._across, owner, line.style, lone)
            pen.draw(spans if line.style == "faint" else self._add_adjacent(line, spans), breaks)
            self._draw_markers(owner, line)
        self._draw_cuts()
        self._draw_ends()
        self._draw_guides()

    def _choose_scale(self) -> Scale:
        """Return the axis for the values in the window, or for the adjacent ones if it has none."""
        columns: list[list[Interval | None]] = [
            piece if any(piece) else [(y, y) for _, y in self._find_adjacent(line)]
            for piece, line in zip(self._slices, self._figure.lines, strict=True)
        ]
        values = [column for piece in columns for column in piece if column is not None]
        if not values:
            return build_y_scale(0.0, 1.0, self.canvas.height, log=False)
        low, high = min(value[0] for value in values), max(value[1] for value in values)
        is_log = self._figure.log and low > 0
        if self._figure.log:
            self.notes.append("log scale" if is_log else NO_LOG)
        if is_log:
            columns = [[c and (log(c[0]), log(c[1])) for c in piece] for piece in columns]
        low, high = find_y_range(columns) or (low, high)
        if is_log:
            low, high = exp(low), exp(high)
        elif high > 10 * low > 0 and _is_flattened(columns, high - low):
            self.notes.append(LOG_HINT)
        return build_y_scale(low, high, self.canvas.height, log=is_log)

    def _find_adjacent(self, line: ChartLine) -> list[tuple[float, float]]:
        """Return the finite points just left and right of the window."""
        i, j = line.series.window(*self._figure.window)
        near = [line.series[k] for k in (i - 1, j) if 0 <= k < len(line.series)]
        return [point for point in near if isfinite(point[1])]

    def _add_adjacent(self, line: ChartLine, spans: list[ColumnSpan]) -> list[ColumnSpan]:
        """Add the adjacent points, so that the line reaches the window's edges."""
        x0, x1 = self._figure.window
        spans = list(spans)
        for x, y in self._find_adjacent(line):
            dot = self._dot_row(y)
            beyond = ColumnSpan(int((x - x0) // ((x1 - x0) / self._across)), dot, dot)
            spans.insert(0 if x < x0 else len(spans), beyond)
        return spans

    def _dot_row(self, value: float) -> int:
        down = min(max(1 - self.scale.fraction(value), -_MAX_HEIGHTS_AWAY), _MAX_HEIGHTS_AWAY)
        return round(down * (self._down - 1))

    def _draw_markers(self, owner: int, line: ChartLine) -> None:
        sign = line.sign(ascii=self._figure.ascii)
        i, j = line.series.window(*self._figure.window)
        if not sign or (j - i) * _COLUMNS_PER_MARKER > self.columns:
            return
        for x, y in line.series.points(*self._figure.window):
            if isfinite(y):
                self.canvas.put(self.column_of(x), self.row_of(y), sign, owner)

    def _draw_cuts(self) -> None:
        """Draw arrows where values lie beyond the axis, and note the most extreme ones."""
        up, down = ("^", "v") if self._figure.ascii else ("↑", "↓")
        above: list[float] = []
        below: list[float] = []
        for owner, columns in enumerate(self._slices):
            values = [(x, column) for x, column in enumerate(columns) if column]
            cut_above = {x: high for x, (_, high) in values if self._dot_row(high) < 0}
            cut_below = {x: low for x, (low, _) in values if self._dot_row(low) >= self._down}
            self._draw_arrows(cut_above, 0, up, owner)
            self._draw_arrows(cut_below, self.canvas.height - 1, down, owner)
            above += cut_above.values()
            below += cut_below.values()
        if above:
            self.notes.append(f"{up} {self._figure.format_value(max(above))}")
        if below:
            self.notes.append(f"{down} {self._figure.format_value(min(below))}")

    def _draw_arrows(self, columns: Iterable[int], row: int, sign: str, owner: int) -> None:
        """Draw an arrow at the start of each run of adjacent columns."""
        cells = {x // self.canvas.dots_per_column for x in columns}
        for cell in cells:
            if cell - 1 not in cells:
                self.canvas.put(cell, row, sign, owner)

    def _draw_ends(self) -> None:
        """Write the newest values after the ends of their lines, where they fit."""
        x0, x1 = self._figure.window
        ends = [
            (line.series.last, owner, self.column_of(line.series.last_x or 0.0))
            for owner, line in enumerate(self._figure.lines)
            if line.series.last is not None
            and line.style != "faint"
            and x0 <= (line.series.last_x or 0.0) <= x1
        ]
        above = self.canvas.height
        for value, owner, column in sorted(ends):
            row, text = min(self.row_of(value), above - 1), self._figure.format_value(value)
            if self.canvas.is_blank(column + 1, row, len(text) + 1):
                self.canvas.put(column + 2, row, text, owner)
                above = row

    def _draw_guides(self) -> None:
        """Draw vertical lines through blank cells at the best evaluation, break-evens and cursor."""
        best, cursor = (":", "|") if self._figure.ascii else ("┊", "│")
        marks = [m for m in self._figure.visible_marks() if m.kind in ("best", "break-even")]
        guides = [(mark.x, best) for mark in marks]
        x0, x1 = self._figure.window
        if self._figure.cursor is not None and x0 <= self._figure.cursor <= x1:
            guides.append((self._figure.cursor, cursor))
        for x, sign in guides:
            for row in range(self.canvas.height):
                if self.canvas.is_blank(self.column_of(x), row):
                    self.canvas.put(self.column_of(x), row, sign, self.guide)
        for mark in marks:
            self._draw_label(mark)

    def _draw_label(self, mark: Mark) -> None:
        """Write a mark's label next to its guide, in the lowest row where it fits."""
        column, length = self.column_of(mark.x), len(mark.label)
        for row in reversed(range(self.canvas.height)):
            for label_column, start in ((column + 2, column + 1), (column - length - 1,) * 2):
                if mark.label and self.canvas.is_blank(start, row, length + 1):
                    self.canvas.put(label_column, row, mark.label, self.guide)
                    return


def _is_flattened(lines: list[list[Interval | None]], height: float) -> bool:
    """Return whether the newer half of every line is flat compared with the whole."""
    for columns in lines:
        values = [column for column in columns if column is not None]
        if len(values) < _MIN_VALUES:
            return False
        newer = values[len(values) // 2 :]
        if max(v[1] for v in newer) - min(v[0] for v in newer) > _MAX_FLAT_SHARE * height:
            return False
    return True
