"""The part of a chart inside its axes: which value stands in which dot, and the dots drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import exp, isfinite, log

from ftwizard.screens.widgets.axes import Scale, x_ticks, y_range, y_scale
from ftwizard.screens.widgets.canvas import Canvas
from ftwizard.screens.widgets.figure import Figure, Line, Mark
from ftwizard.screens.widgets.trace import Pen, Span
from ftwizard.series import Interval

# A point is marked where each has so many columns to itself.
_COLUMNS_A_MARKER = 2
# The later covers the earlier where they share a cell.
_ORDER = ("faint", "solid", "dashed")
# Values far outside are drawn as if so many heights away: it only has to look steep.
_FAR = 20.0

NO_LOG = "log needs values above 0"
HINT = "l: log scale"
# The newer half of a chart that has no more than this part of its height is worth a log scale.
_FLAT = 1 / 8
_ENOUGH = 12


class Body:
    """A canvas of ``columns`` x ``rows`` cells under the axes, and ``margin`` columns beyond."""

    def __init__(self, figure: Figure, columns: int, rows: int, margin: int) -> None:
        self.columns = columns
        self.margin = margin
        self.canvas = Canvas(columns + margin, rows, ascii=figure.ascii)
        self.notes: list[str] = []
        self.guide = len(figure.lines)
        """Owner of the vertical guides; the lines' owners are their places in the figure."""
        self._figure = figure
        self._across = columns * self.canvas.dots_per_column
        self._down = rows * self.canvas.dots_per_row
        self._slices = [line.series.columns(*figure.window, self._across) for line in figure.lines]
        self.scale = figure.labelled(self._choose_scale())
        ends = [x for line in figure.lines for x in (line.series.first_x, line.series.last_x)]
        whole = all(x is None or x == int(x) for x in ends)
        self.x_ticks = x_ticks(*figure.window, columns, whole=whole)

    def column_of(self, x: float) -> int:
        """Return the column of an x inside the window."""
        x0, x1 = self._figure.window
        return min(int((x - x0) / (x1 - x0) * self.columns), self.columns - 1)

    def row_of(self, value: float) -> int:
        """Return the row of a value; outside the canvas for one outside the axis."""
        return self._dot(value) // self.canvas.dots_per_row

    def draw(self) -> None:
        """Draw lines, markers, guides and the values at the lines' ends."""
        lines = sorted(enumerate(self._figure.lines), key=lambda pair: _ORDER.index(pair[1].style))
        for owner, line in lines:
            spans = list(self._spans(owner))
            lone = line.sign(ascii=self._figure.ascii) or ("*" if self._figure.ascii else "•")
            breaks = {x for x, gap in enumerate(self._gaps(line)) if gap}
            pen = Pen(self.canvas, self._across, owner, line.style, lone)
            pen.draw(spans if line.style == "faint" else self._with_outside(line, spans), breaks)
            self._draw_markers(owner, line)
        self._draw_cuts()
        self._draw_ends()
        self._draw_guides()

    def _choose_scale(self) -> Scale:
        """Return the axis for the values in the window, or for those on either side of it."""
        columns = [
            piece if any(piece) else self._outside_values(line)
            for piece, line in zip(self._slices, self._figure.lines, strict=True)
        ]
        values = [column for piece in columns for column in piece if column is not None]
        if not values:
            return y_scale(0.0, 1.0, self.canvas.height, log=False)
        low, high = min(value[0] for value in values), max(value[1] for value in values)
        is_log = self._figure.log and low > 0
        if self._figure.log:
            self.notes.append("log scale" if is_log else NO_LOG)
        if is_log:
            columns = _logarithms(columns)
        low, high = y_range(columns) or (low, high)
        if is_log:
            low, high = exp(low), exp(high)
        elif high > 10 * low > 0 and _is_flattened(columns, high - low):
            self.notes.append(HINT)
        return y_scale(low, high, self.canvas.height, log=is_log)

    def _outside_values(self, line: Line) -> list[Interval | None]:
        """Return the values next to the window, for a line that only passes through it."""
        return [(y, y) for _, y in self._outside(line)]

    def _outside(self, line: Line) -> list[tuple[float, float]]:
        """Return the finite points that are next to the window on its left and right."""
        i, j = line.series.window(*self._figure.window)
        near = [line.series[k] for k in (i - 1, j) if 0 <= k < len(line.series)]
        return [point for point in near if isfinite(point[1])]

    def _gaps(self, line: Line) -> list[bool]:
        return line.series.gaps(*self._figure.window, self._across)

    def _spans(self, owner: int) -> Iterator[Span]:
        for x, column in enumerate(self._slices[owner]):
            if column is not None:
                yield Span(x, self._dot(column[1]), self._dot(column[0]))

    def _with_outside(self, line: Line, spans: list[Span]) -> list[Span]:
        """Add the points next to the window, so that the line reaches its edges."""
        x0, x1 = self._figure.window
        spans = list(spans)
        for x, y in self._outside(line):
            dot = self._dot(y)
            beyond = Span(int((x - x0) // ((x1 - x0) / self._across)), dot, dot)
            spans.insert(0 if x < x0 else len(spans), beyond)
        return spans

    def _dot(self, value: float) -> int:
        """Return the dot row of a value, counted from the top."""
        down = min(max(1 - self.scale.fraction(value), -_FAR), _FAR)
        return round(down * (self._down - 1))

    def _draw_markers(self, owner: int, line: Line) -> None:
        sign = line.sign(ascii=self._figure.ascii)
        i, j = line.series.window(*self._figure.window)
        if not sign or (j - i) * _COLUMNS_A_MARKER > self.columns:
            return
        for x, y in line.series.points(*self._figure.window):
            if isfinite(y):
                self.canvas.put(self.column_of(x), self.row_of(y), sign, owner)

    def _draw_cuts(self) -> None:
        """Show by arrows where values lie beyond the axis, and note the most extreme of them."""
        up, down = ("^", "v") if self._figure.ascii else ("↑", "↓")
        above: list[float] = []
        below: list[float] = []
        for owner, columns in enumerate(self._slices):
            cut_above = {x: c[1] for x, c in enumerate(columns) if c and self._dot(c[1]) < 0}
            cut_below = {
                x: c[0] for x, c in enumerate(columns) if c and self._dot(c[0]) >= self._down
            }
            self._draw_arrows(cut_above, 0, up, owner)
            self._draw_arrows(cut_below, self.canvas.height - 1, down, owner)
            above += cut_above.values()
            below += cut_below.values()
        if above:
            self.notes.append(f"{up} {self._figure.written(max(above))}")
        if below:
            self.notes.append(f"{down} {self._figure.written(min(below))}")

    def _draw_arrows(self, columns: Iterable[int], row: int, sign: str, owner: int) -> None:
        """Draw an arrow where each stretch of dot columns begins."""
        cells = {x // self.canvas.dots_per_column for x in columns}
        for cell in cells:
            if cell - 1 not in cells:
                self.canvas.put(cell, row, sign, owner)

    def _draw_ends(self) -> None:
        """Write the newest values behind the ends of their lines, where there is room."""
        ends = [
            (line.series.last, owner)
            for owner, line in enumerate(self._figure.lines)
            if line.series.last is not None and line.style != "faint"
        ]
        above = self.canvas.height
        for value, owner in sorted(ends):
            row = min(self.row_of(value), above - 1)
            if self._draw_end(owner, row, self._figure.written(value)):
                above = row

    def _draw_end(self, owner: int, row: int, text: str) -> bool:
        """Write a value behind the end of a line, and say whether there was room."""
        x0, x1 = self._figure.window
        x = self._figure.lines[owner].series.last_x
        if x is None or not x0 <= x <= x1:
            return False
        column = self.column_of(x) + 2
        if not self.canvas.is_blank(column - 1, row, len(text) + 1):
            return False
        self.canvas.put(column, row, text, owner)
        return True

    def _draw_guides(self) -> None:
        """Draw a vertical line through what is blank: at the best evaluation, a break-even, the
        cursor."""
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
        """Write a mark's label beside its guide: as far down as there is room for it."""
        column, length = self.column_of(mark.x), len(mark.label)
        for row in reversed(range(self.canvas.height)):
            for at, start in ((column + 2, column + 1), (column - length - 1,) * 2):
                if mark.label and self.canvas.is_blank(start, row, length + 1):
                    self.canvas.put(at, row, mark.label, self.guide)
                    return


def _logarithms(lines: list[list[Interval | None]]) -> list[list[Interval | None]]:
    return [[c and (log(c[0]), log(c[1])) for c in columns] for columns in lines]


def _is_flattened(lines: list[list[Interval | None]], height: float) -> bool:
    """Say whether the newer half of every line is flat against the whole."""
    for columns in lines:
        values = [column for column in columns if column is not None]
        if len(values) < _ENOUGH:
            return False
        newer = values[len(values) // 2 :]
        if newer and max(v[1] for v in newer) - min(v[0] for v in newer) > _FLAT * height:
            return False
    return True
