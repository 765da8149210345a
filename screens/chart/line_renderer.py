"""Drawing of chart lines with dots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ftwizard.screens.chart.canvas import Canvas

LineStyle = Literal["solid", "dashed", "faint"]


class Span(NamedTuple):
    """The dot rows that a line covers in one dot column, counted from the top."""

    x: int
    top: int
    bottom: int

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


@dataclass(frozen=True)
class Pen:
    """Draws for one owner in one style.

    Solid: joined dots. Dashed: interrupted along x, or along y where it is steep. Faint: unjoined
    values, with ranges at half density, so that it differs from a line even without color.
    """

    canvas: Canvas
    across: int
    """Dot columns to draw in, from the left."""
    owner: int
    style: LineStyle
    lone: str
    """Marker of a point without neighbors to join."""

    def draw(self, spans: Sequence[Span], breaks: set[int]) -> None:
        """Draw ``spans`` from left to right, joined except across the dot columns ``breaks``.

        Spans may lie outside the canvas: lines to them are drawn up to the edge.
        """
        if self.style == "faint":
            for span in spans:
                self._draw_halftone(span)
            return
        joined = False
        for index, span in enumerate(spans):
            if 0 <= span.x < self.across:
                self._draw_column(span.x, span.top, span.bottom, is_steep=False)
            next_span = spans[index + 1] if index + 1 < len(spans) else None
            joins = next_span is not None and not _is_broken(span.x, next_span.x, breaks)
            if next_span is not None and joins:
                self._join(span, next_span)
            elif not joined and span.top == span.bottom:
                self._draw_lone(span)
            joined = joins

    def _draw_lone(self, span: Span) -> None:
        canvas = self.canvas
        column, row = span.x // canvas.dots_per_column, span.top // canvas.dots_per_row
        canvas.put(column, row, self.lone, self.owner)

    def _draw_halftone(self, span: Span) -> None:
        for y in {
            span.top,
            span.bottom,
            *range(span.top + (span.x + span.top) % 2, span.bottom, 2),
        }:
            self.canvas.run(span.x, y, y, self.owner)

    def _join(self, left: Span, right: Span) -> None:
        """Draw a straight line between the nearest ends of two spans."""
        if right.top > left.bottom:
            start, end = float(left.bottom), float(right.top)
        elif right.bottom < left.top:
            start, end = float(left.top), float(right.bottom)
        elif right.x - left.x == 1:
            return
        else:
            start, end = left.middle, right.middle
        slope = (end - start) / (right.x - left.x)
        is_steep = abs(slope) > 1
        for x in range(max(left.x, 0), min(right.x, self.across - 1) + 1):
            a = start + slope * (max(x - 0.5, left.x) - left.x)
            b = start + slope * (min(x + 0.5, right.x) - left.x)
            self._draw_column(x, *_whole_rows(a, b), is_steep=is_steep)

    def _draw_column(self, x: int, top: int, bottom: int, *, is_steep: bool) -> None:
        """Draw the dots of one column, leaving out the gaps of a dashed line."""
        if self.style == "solid":
            self.canvas.run(x, top, bottom, self.owner)
        elif is_steep:
            # Clip here: a range far outside would be visited dot by dot.
            height = self.canvas.height * self.canvas.dots_per_row
            dash = self.canvas.dots_per_row
            for y in range(max(top, 0), min(bottom, height - 1) + 1):
                if y // dash % 2 == 0:
                    self.canvas.run(x, y, y, self.owner)
        elif x // (2 * self.canvas.dots_per_column) % 2 == 0:
            self.canvas.run(x, top, bottom, self.owner)


def _whole_rows(a: float, b: float) -> tuple[int, int]:
    """Return the rows from ``a`` up to, not including, ``b``; at least the one nearest to both."""
    first, last = (math.ceil(a), math.ceil(b) - 1) if a < b else (math.floor(b) + 1, math.floor(a))
    if first > last:
        first = last = math.floor((a + b) / 2 + 0.5)
    return first, last


def _is_broken(left: int, right: int, breaks: set[int]) -> bool:
    """Return whether the line breaks between columns ``left`` and ``right``."""
    return bool(breaks) and any(x in breaks for x in range(left, right + 1))
