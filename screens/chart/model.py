"""Contents of a chart as plain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from rich.style import Style

from ftwizard.screens.chart.axes import Scale, format_number
from ftwizard.screens.chart.canvas import LineStyle
from ftwizard.timeseries import Interval, Series

MarkKind = Literal["best", "checkpoint", "finding", "yours", "break-even"]

# Symbol and ASCII symbol, least important first: if two overlap, the later is shown.
MARKS: dict[MarkKind, tuple[str, str]] = {
    "checkpoint": ("▴", "^"),
    "best": ("●", "*"),
    "finding": ("!", "!"),
    "yours": ("▲", "^"),
    "break-even": ("◆", "x"),
}


@dataclass(frozen=True)
class ChartLine:
    name: str
    """Foreign text; a line with an empty name is left out of the legend."""
    series: Series
    color: str
    """In the format of Textual's ``Color.parse``: ``#56B4E9``."""
    style: LineStyle
    marker: str = ""
    """Drawn on each point if points are sparse; one cell wide, ``o`` if not ASCII in ASCII mode."""

    def sign(self, *, ascii: bool) -> str:
        return "o" if ascii and not self.marker.isascii() else self.marker


@dataclass(frozen=True)
class Mark:
    """An event at ``x``, shown as a symbol on the axis."""

    x: float
    kind: MarkKind
    label: str = ""
    """Written next to its guide; marks with a label have no position in the legend."""
    name: str = ""
    """Foreign text; name in the legend, if not its kind."""


@dataclass(frozen=True)
class Styles:
    """Styles of the parts; ``lines`` has one style per line, in order."""

    axis: Style
    label: Style
    text: Style
    marks: dict[MarkKind, Style]
    lines: tuple[Style, ...]


@dataclass(frozen=True)
class ChartFigure:
    """Everything that determines a chart, except its size."""

    lines: tuple[ChartLine, ...]
    marks: tuple[Mark, ...]
    window: Interval
    """Ends of the x axis, left < right."""
    x_name: str
    ascii: bool
    log: bool
    cursor: float | None
    """The x of the values to show, None for the newest."""
    notes: tuple[str, ...]
    """Notes at the right of the legend, most important first."""
    styles: Styles
    write: Callable[[float], str] | None = None
    """Formats values, also on the axis; None for plain numbers, shortened on the axis."""

    def format_value(self, value: float) -> str:
        return (self.write or format_number)(value)

    def label_ticks(self, scale: Scale) -> Scale:
        """Return a y axis with its tick labels formatted like values."""
        if self.write is None:
            return scale
        ticks = tuple(tick._replace(label=self.write(tick.value)) for tick in scale.ticks)
        return replace(scale, ticks=ticks)

    def visible_marks(self) -> list[Mark]:
        """Return the marks inside the window, most important last."""
        x0, x1 = self.window
        inside = [mark for mark in self.marks if x0 <= mark.x <= x1]
        order = list(MARKS)
        return sorted(inside, key=lambda mark: order.index(mark.kind))
