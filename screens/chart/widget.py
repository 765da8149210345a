"""Live line chart widget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from ftwizard.screens.chart.axes import round_step
from ftwizard.screens.chart.canvas import LineStyle
from ftwizard.screens.chart.layout import MIN_HEIGHT, MIN_WIDTH, lay_out, lay_out_message
from ftwizard.screens.chart.model import MARKS, ChartFigure, ChartLine, Mark, MarkKind, Styles
from ftwizard.timeseries import Interval

__all__ = ["Chart", "ChartLine", "LineStyle", "Mark", "MarkKind"]

# The right end moves in jumps of at least 1/8 of the window: a chart that shifts with every point
# is unreadable and costs bandwidth.
_JUMPS_PER_WINDOW = 8
# Opacity of faint lines.
_FAINT = 0.6
_PAN = 0.25
# Minimum points of the longest line in a zoomed window.
_MIN_POINTS = 10
NO_STEPS = "no steps yet"
"""Shown before the first point."""


@dataclass(frozen=True)
class Extent:
    first: float
    last: float
    total: float | None = None


@dataclass(frozen=True)
class ChartWindow:
    """The part of the x axis that the user chose."""

    span: float | None = None
    """Width of the window in units of x; None shows everything."""
    right: float | None = None
    """Fixed right end; None follows the data."""
    follow: bool = True
    """True ends the axis at the newest point, False at the end of the run."""

    @property
    def is_fixed(self) -> bool:
        """Whether new points no longer move the window."""
        return self.right is not None

    def window(self, extent: Extent) -> Interval:
        """Return the left and right end of the visible range; left < right."""
        start, end = self._whole(extent)
        if self.span is None or self.span >= end - start:
            return start, end
        right = self._free_end(extent) if self.right is None else self.right
        right = min(max(right, start + self.span), end)
        return right - self.span, right

    def zoomed(
        self, factor: float, extent: Extent, *, at: float | None, min_span: float
    ) -> ChartWindow:
        """Return a window ``factor`` times as wide, but at least ``min_span``.

        The right end stays in place, or ``at`` if it is inside the window.
        """
        x0, x1 = self.window(extent)
        start, end = self._whole(extent)
        span = max((x1 - x0) * factor, min(min_span, x1 - x0))
        if span >= end - start:
            return ChartWindow(follow=self.follow)
        if at is None or not x0 <= at <= x1:
            return replace(self, span=span)
        right = at + (x1 - at) * span / (x1 - x0)
        return replace(self, span=span)._fixed_at(right, extent)

    def panned(self, share: float, extent: Extent) -> ChartWindow:
        """Return a window moved by a share of its width; at the end it follows again."""
        x0, x1 = self.window(extent)
        if self.span is None:
            return self
        return self._fixed_at(x1 + share * (x1 - x0), extent)

    def _fixed_at(self, right: float, extent: Extent) -> ChartWindow:
        assert self.span is not None
        if right >= self._free_end(extent):
            return replace(self, right=None)
        return replace(self, right=max(right, self._whole(extent)[0] + self.span))

    def _whole(self, extent: Extent) -> Interval:
        """Return the ends of all data; the axis starts at 0 if the data starts close to it."""
        end = self._end(extent, extent.last - min(extent.first, 0.0))
        start = 0.0 if 0 <= extent.first <= 0.1 * end else extent.first
        return start, end if end > start else start + 1

    def _free_end(self, extent: Extent) -> float:
        return self._end(extent, self.span or extent.last - extent.first)

    def _end(self, extent: Extent, span: float) -> float:
        if not self.follow and extent.total is not None:
            return max(extent.total, extent.last)
        if span <= 0:
            return extent.last
        step = round_step(span / _JUMPS_PER_WINDOW)
        end = math.ceil(extent.last / step - 1e-9) * step
        if extent.total is not None and extent.last <= extent.total:
            end = min(end, extent.total)
        return max(end, extent.last)


class Chart(Widget, can_focus=True):
    """Lines in braille or ASCII, with zoom, pan, log scale and a cursor; follows the newest point.

    The layout is cached until data, size, window or colors change.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"chart--{part}" for part in ("axis", "label", "text", *MARKS)
    }
    DEFAULT_CSS = """
    Chart {
        height: 1fr;
        & > .chart--axis { color: $foreground 30%; }
        & > .chart--label { color: $foreground 60%; }
        & > .chart--text { color: $foreground; }
        & > .chart--best { color: $foreground; text-style: bold; }
        & > .chart--checkpoint { color: $foreground 60%; }
        & > .chart--finding { color: $warning; text-style: bold; }
        & > .chart--yours { color: $foreground; text-style: bold; }
        & > .chart--break-even { color: $foreground; text-style: bold; }
        &:focus > .chart--axis { color: $foreground 60%; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "plus,equals_sign",
            "zoom(0.5)",
            "zoom in",
            key_display="+",
            show=False,
            tooltip="zoom in",
        ),
        Binding("minus", "zoom(2)", "zoom out", key_display="-", show=False, tooltip="zoom out"),
        Binding("left", "pan(-1)", "earlier", show=False, tooltip="earlier, later"),
        Binding("right", "pan(1)", "later", show=False, tooltip="earlier, later"),
        Binding("0", "reset", "show all", show=False, tooltip="show all, from 0"),
        Binding("end", "follow", "follow", show=False, tooltip="follow the newest"),
        Binding(
            "f", "toggle_whole", "whole run", show=False, tooltip="whole run, or the newest part"
        ),
        Binding("l", "toggle_log", "log scale", show=False, tooltip="log scale on or off"),
        Binding(
            "shift+left",
            "cursor(-1)",
            "read earlier value",
            show=False,
            tooltip="read the values of a step",
        ),
        Binding(
            "shift+right",
            "cursor(1)",
            "read later value",
            show=False,
            tooltip="read the values of a step",
        ),
    ]

    class LogScale(Message):
        """The y axis was switched to or from log scale."""

        def __init__(self, *, on: bool) -> None:
            super().__init__()
            self.on = on

    def __init__(
        self,
        *,
        x_name: str = "step",
        empty: str = NO_STEPS,
        write: Callable[[float], str] | None = None,
        id: str | None = None,
    ) -> None:
        """``empty`` is shown before the first point; ``write`` formats values that need a unit."""
        super().__init__(id=id)
        self.view = ChartWindow()
        self.log_scale = False
        self.cursor: float | None = None
        self._lines: tuple[ChartLine, ...] = ()
        self._marks: tuple[Mark, ...] = ()
        self._x_end: float | None = None
        self.x_name = x_name
        self.empty = empty
        self._write = write
        self._strips: list[Strip] = []
        self._drawn: object = None
        self._shown: object = None

    def show(
        self, lines: Sequence[ChartLine], marks: Sequence[Mark] = (), x_end: float | None = None
    ) -> None:
        """Draw lines and marks; ``x_end`` is the known end of the x axis, 0 once the run has ended.

        Nothing is repainted unless something changed, including the contents of the series.
        """
        self._lines, self._marks, self._x_end = tuple(lines), tuple(marks), x_end
        if self._state() != self._shown:
            self._shown = self._state()
            self.refresh()

    def render_line(self, y: int) -> Strip:
        state = (self._state(), self.size)
        if state != self._drawn:
            style = self.rich_style
            self._strips = [strip.apply_style(style) for strip in self._lay_out()]
            self._drawn = state
        if y < len(self._strips):
            return self._strips[y]
        return Strip.blank(self.size.width, self.rich_style)

    def notify_style_update(self) -> None:
        self._drawn = None
        super().notify_style_update()

    def action_reset(self) -> None:
        """Show everything, follow the newest point and hide the cursor."""
        self.cursor = None
        self._set_window(ChartWindow(follow=self.view.follow))

    def action_follow(self) -> None:
        """Go to the newest point and follow it, at the current zoom."""
        self._set_window(replace(self.view, right=None, follow=True))

    def action_toggle_whole(self) -> None:
        """Switch the end of the axis between the newest point and the end of the run."""
        self._set_window(ChartWindow(follow=not self.view.follow))

    def action_toggle_log(self) -> None:
        self.log_scale = not self.log_scale
        self.post_message(self.LogScale(on=self.log_scale))
        self.refresh()

    def on_resize(self, _event: events.Resize) -> None:
        self.refresh()

    def _set_window(self, view: ChartWindow) -> None:
        self.view = view
        self.refresh()

    def action_zoom(self, factor: float) -> None:
        """Show ``factor`` times as much."""
        extent = self._extent()
        if extent is not None:
            points = max(len(line.series) for line in self._lines)
            min_span = (extent.last - extent.first) * _MIN_POINTS / points
            self._set_window(self.view.zoomed(factor, extent, at=self.cursor, min_span=min_span))

    def action_pan(self, direction: int) -> None:
        """Pan; new points move the window again only at the end."""
        extent = self._extent()
        if extent is not None:
            self._set_window(self.view.panned(direction * _PAN, extent))

    def action_cursor(self, direction: int) -> None:
        """Read the next point at least one column away, in view; none after the newest."""
        extent = self._extent()
        if extent is None:
            return
        x0, x1 = self.view.window(extent)
        position = min(max(extent.last if self.cursor is None else self.cursor, x0), x1)
        goal = position + direction * (x1 - x0) / max(self.size.width, 1)
        candidates = []
        for line in self._lines:
            ends = (goal, extent.last) if direction > 0 else (extent.first, goal)
            i, j = line.series.window(*ends)
            if i < j:
                candidates.append(line.series[i if direction > 0 else j - 1][0])
        if direction > 0:
            self.cursor = min(candidates, default=None)
        elif candidates:
            self.cursor = max(candidates)
        if self.cursor is not None and not x0 <= self.cursor <= x1:
            self.action_pan(direction)
        self.refresh()

    def _extent(self) -> Extent | None:
        """Return the ends of all lines, None without points."""
        ends = [(line.series[0][0], line.series[-1][0]) for line in self._lines if len(line.series)]
        if not ends:
            return None
        first, last = min(ends)[0], max(end for _, end in ends)
        return Extent(first, last, None if self._x_end is None else max(self._x_end, last))

    def _state(self) -> object:
        """Return everything that the layout depends on, except size and colors."""
        lines = tuple((line, id(line.series), line.series.version) for line in self._lines)
        settings = self.x_name, self.empty, self.view, self.log_scale, self.cursor
        return lines, self._marks, self._x_end, settings

    def _lay_out(self) -> list[Strip]:
        width, height = self.size
        if width < MIN_WIDTH or height < MIN_HEIGHT:
            return []
        extent = self._extent()
        figure = ChartFigure(
            lines=self._lines,
            marks=self._marks,
            window=self.view.window(extent) if extent else (0.0, 1.0),
            x_name=self.x_name,
            ascii=getattr(self.app, "ascii", False),
            log=self.log_scale,
            cursor=self.cursor,
            notes=("paused; 0 shows all",) if self.view.is_fixed else (),
            styles=self._styles(),
            write=self._write,
        )
        if extent is None:
            return lay_out_message(self.empty, figure, width, height)
        if all(line.series.bounds(extent.first, extent.last) is None for line in self._lines):
            return lay_out_message("all values are NaN", figure, width, height)
        return lay_out(figure, width, height)

    def _styles(self) -> Styles:
        background = self.background_colors[1]

        def line_style(line: ChartLine) -> Style:
            color = Color.parse(line.color)
            # The terminal's own background is unknown, so nothing can be blended with it.
            if line.style == "faint" and background.ansi is None:
                color = background.blend(color, _FAINT)
            return Style(color=color.rich_color)

        def part(name: str) -> Style:
            return self.get_component_rich_style(f"chart--{name}")

        return Styles(
            axis=part("axis"),
            label=part("label"),
            text=part("text"),
            marks={kind: part(kind) for kind in MARKS},
            lines=tuple(line_style(line) for line in self._lines),
        )
