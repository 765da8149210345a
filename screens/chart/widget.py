"""Live line chart widget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from ftwizard.screens.chart.layout import MIN_HEIGHT, MIN_WIDTH, lay_out, lay_out_message
from ftwizard.screens.chart.line_renderer import LineStyle
from ftwizard.screens.chart.model import MARKS, ChartFigure, ChartLine, Mark, MarkKind, Styles
from ftwizard.screens.chart.viewport import ChartWindow, Extent

__all__ = ["Chart", "ChartLine", "LineStyle", "Mark", "MarkKind"]

# Opacity of faint lines.
_FAINT = 0.6
_ZOOM = 0.5
_PAN = 0.25
# Minimum points of the longest line in a zoomed window.
_MIN_POINTS = 10


class Chart(Widget, can_focus=True):
    """Lines in braille or ASCII, with zoom, pan, log scale and a cursor; follows the newest point.

    The layout is cached until data, size, window or colors change.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "chart--axis",
        "chart--label",
        "chart--text",
        "chart--best",
        "chart--checkpoint",
        "chart--finding",
        "chart--yours",
        "chart--break-even",
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
        Binding("plus,equals_sign", "zoom_in", "zoom in", key_display="+", show=False),
        Binding("minus", "zoom_out", "zoom out", key_display="-", show=False),
        Binding("left", "pan_left", "earlier", show=False),
        Binding("right", "pan_right", "later", show=False),
        Binding("0", "reset", "show all", show=False),
        Binding("end", "follow", "follow", show=False),
        Binding("f", "toggle_whole", "whole run", show=False),
        Binding("l", "toggle_log", "log scale", show=False),
        Binding("shift+left", "cursor_left", "read earlier value", show=False),
        Binding("shift+right", "cursor_right", "read later value", show=False),
    ]

    class LogScale(Message):
        """The y axis was switched to or from log scale."""

        def __init__(self, *, on: bool) -> None:
            super().__init__()
            self.on = on

    def __init__(
        self,
        lines: Sequence[ChartLine] = (),
        *,
        x_name: str = "step",
        empty: str = "no steps yet",
        ascii: bool = False,
        write: Callable[[float], str] | None = None,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        """Create a chart.

        ``x_name`` labels the x axis, ``empty`` is shown before the first point, ``write`` formats
        values other than plain numbers.
        """
        super().__init__(name=name, id=id, classes=classes)
        self.view = ChartWindow()
        self.log_scale = False
        self.cursor: float | None = None
        self._lines = tuple(lines)
        self._marks: tuple[Mark, ...] = ()
        self._x_end: float | None = None
        self.x_name = x_name
        self._empty = empty
        self._ascii = ascii
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

    def set_empty_text(self, empty: str) -> None:
        """Set the text shown while there are no points."""
        self._empty = empty
        if not self._lines:
            self._drawn = None
            self.refresh()

    @property
    def is_following(self) -> bool:
        """Whether the newest point is always in view."""
        return not self.view.is_fixed

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

    def action_zoom_in(self) -> None:
        """Show half as much."""
        self._zoom(_ZOOM)

    def action_zoom_out(self) -> None:
        """Show twice as much."""
        self._zoom(1 / _ZOOM)

    def action_pan_left(self) -> None:
        """Pan back; new points no longer move the window."""
        self._pan(-_PAN)

    def action_pan_right(self) -> None:
        """Pan forward; at the end the window follows the newest point again."""
        self._pan(_PAN)

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
        """Switch the y axis between linear and logarithmic."""
        self.log_scale = not self.log_scale
        self.post_message(self.LogScale(on=self.log_scale))
        self.refresh()

    def action_cursor_left(self) -> None:
        """Read the values of an earlier point."""
        self._move_cursor(-1)

    def action_cursor_right(self) -> None:
        """Read the values of a later point; after the newest, hide the cursor."""
        self._move_cursor(1)

    def on_resize(self, _event: events.Resize) -> None:
        self.refresh()

    def _set_window(self, view: ChartWindow) -> None:
        self.view = view
        self.refresh()

    def _zoom(self, factor: float) -> None:
        extent = self._extent()
        if extent is not None:
            points = max(len(line.series) for line in self._lines)
            min_span = (extent.last - extent.first) * _MIN_POINTS / points
            self._set_window(self.view.zoomed(factor, extent, at=self.cursor, min_span=min_span))

    def _pan(self, part: float) -> None:
        extent = self._extent()
        if extent is not None:
            self._set_window(self.view.panned(part, extent))

    def _move_cursor(self, direction: int) -> None:
        """Move to the next point at least one column away, and keep it in view."""
        extent = self._extent()
        if extent is None:
            return
        x0, x1 = self.view.window(extent)
        position = min(max(extent.last if self.cursor is None else self.cursor, x0), x1)
        goal = position + direction * (x1 - x0) / max(self.size.width, 1)
        candidates = []
        for line in self._lines:
            i, j = line.series.window(
                *((goal, extent.last) if direction > 0 else (extent.first, goal))
            )
            if i < j:
                candidates.append(line.series[i if direction > 0 else j - 1][0])
        if direction > 0:
            self.cursor = min(candidates, default=None)
        elif candidates:
            self.cursor = max(candidates)
        if self.cursor is not None and not x0 <= self.cursor <= x1:
            self._pan(direction * _PAN)
        self.refresh()

    def _extent(self) -> Extent | None:
        """Return the ends of all lines, None without points."""
        firsts = [line.series.first_x for line in self._lines]
        lasts = [line.series.last_x for line in self._lines]
        first = min((x for x in firsts if x is not None), default=None)
        last = max((x for x in lasts if x is not None), default=None)
        if first is None or last is None:
            return None
        return Extent(first, last, None if self._x_end is None else max(self._x_end, last))

    def _state(self) -> object:
        """Return everything that the layout depends on, except size and colors."""
        lines = tuple((line, id(line.series), line.series.version) for line in self._lines)
        return lines, self._marks, self._x_end, self.x_name, self.view, self.log_scale, self.cursor

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
            ascii=self._ascii,
            log=self.log_scale,
            cursor=self.cursor,
            notes=self._notes(),
            styles=self._styles(),
            write=self._write,
        )
        if extent is None:
            return lay_out_message(self._empty, figure, width, height)
        if all(line.series.bounds(extent.first, extent.last) is None for line in self._lines):
            return lay_out_message("all values are NaN", figure, width, height)
        return lay_out(figure, width, height)

    def _notes(self) -> tuple[str, ...]:
        return ("paused; 0 shows all",) if self.view.is_fixed else ()

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
