"""What a chart shows, as plain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from rich.style import Style

from ftwizard.screens.widgets.axes import Scale, number
from ftwizard.screens.widgets.trace import LineStyle
from ftwizard.series import Interval, Series

MarkKind = Literal["best", "checkpoint", "finding", "yours", "break-even"]

# Sign and ASCII sign, in ascending order of importance: where two meet, the later is shown.
MARKS: dict[MarkKind, tuple[str, str]] = {
    "checkpoint": ("▴", "^"),
    "best": ("●", "*"),
    "finding": ("!", "!"),
    "yours": ("▲", "^"),
    "break-even": ("◆", "x"),
}


@dataclass(frozen=True)
class Line:
    """One line of a chart."""

    name: str
    """Foreign text; with an empty name the line stays out of the legend."""
    series: Series
    colour: str
    """As Textual's ``Color.parse`` takes it: ``#56B4E9``."""
    style: LineStyle
    marker: str = ""
    """Drawn on each point where points are sparse, ``o`` in ASCII where it is not; one cell wide."""

    def sign(self, *, ascii: bool) -> str:
        """Return the marker that is drawn."""
        return "o" if ascii and not self.marker.isascii() else self.marker


@dataclass(frozen=True)
class Mark:
    """Something that happened at ``x``; its sign stands on the axis."""

    x: float
    kind: MarkKind
    label: str = ""
    """Written beside its guide; where there is one, the legend does not say where it stands."""
    name: str = ""
    """Foreign text; what the legend calls it, where that is not its kind."""


@dataclass(frozen=True)
class Styles:
    """How the parts look; ``lines`` holds one style a line, in their order."""

    axis: Style
    label: Style
    text: Style
    marks: dict[MarkKind, Style]
    lines: tuple[Style, ...]


@dataclass(frozen=True)
class Figure:
    """Everything that decides how a chart looks, but for its size."""

    lines: tuple[Line, ...]
    marks: tuple[Mark, ...]
    window: Interval
    """Ends of the x axis, left < right."""
    x_name: str
    ascii: bool
    log: bool
    cursor: float | None
    """The x whose values are read, None for the newest."""
    notes: tuple[str, ...]
    """Said at the right of the legend, the most important first."""
    styles: Styles
    write: Callable[[float], str] | None = None
    """How a value is written, also on the axis; None: as a number, on the axis a short one."""

    def written(self, value: float) -> str:
        """Return a value as text."""
        return (self.write or number)(value)

    def labelled(self, scale: Scale) -> Scale:
        """Return an axis of values, labelled as they are written."""
        if self.write is None:
            return scale
        return replace(
            scale, ticks=tuple(one._replace(label=self.write(one.value)) for one in scale.ticks)
        )

    def visible_marks(self) -> list[Mark]:
        """Return the marks inside the window, the most important last."""
        x0, x1 = self.window
        inside = [mark for mark in self.marks if x0 <= mark.x <= x1]
        order = list(MARKS)
        return sorted(inside, key=lambda mark: order.index(mark.kind))
