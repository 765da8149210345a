"""How a line of a chart is drawn with dots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ftwizard.screens.widgets.canvas import Canvas

LineStyle = Literal["solid", "dashed", "faint"]


class Span(NamedTuple):
    """What a line covers in one dot column: dot rows, counted from the top."""

    x: int
    top: int
    bottom: int

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


@dataclass(frozen=True)
class Pen:
    """Draws for one owner in one style.

    Solid: joined dots. Dashed: broken along x, or along y where it is steep. Faint: the values
    themselves, not joined, a range as half its dots; so it differs from a line even where no
    colour is shown.
    """

    canvas: Canvas
    across: int
    """Dot columns to draw in, from the left."""
    owner: int
    style: LineStyle
    lone: str
    """What marks a point that has no neighbour to be joined to."""

    def draw(self, spans: Sequence[Span], breaks: set[int]) -> None:
        """Draw ``spans``, left to right, joined except across the dot columns ``breaks``.

        Spans may lie outside: what is joined to them is drawn up to the edge.
        """
        if self.style == "faint":
            for span in spans:
                self._halftone(span)
            return
        joined = False
        for index, span in enumerate(spans):
            if 0 <= span.x < self.across:
                self._column(span.x, span.top, span.bottom, is_steep=False)
            after = spans[index + 1] if index + 1 < len(spans) else None
            joins = after is not None and not _broken(span.x, after.x, breaks)
            if after is not None and joins:
                self._join(span, after)
            elif not joined and span.top == span.bottom:
                self._mark(span)
            joined = joins

    def _mark(self, span: Span) -> None:
        canvas = self.canvas
        column, row = span.x // canvas.dots_per_column, span.top // canvas.dots_per_row
        canvas.put(column, row, self.lone, self.owner)

    def _halftone(self, span: Span) -> None:
        for y in {
            span.top,
            span.bottom,
            *range(span.top + (span.x + span.top) % 2, span.bottom, 2),
        }:
            self.canvas.run(span.x, y, y, self.owner)

    def _join(self, left: Span, right: Span) -> None:
        """Draw what lies between two spans: a straight line between their nearest ends."""
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
            self._column(x, *_whole_rows(a, b), is_steep=is_steep)

    def _column(self, x: int, top: int, bottom: int, *, is_steep: bool) -> None:
        """Draw the dots of one column, or of a dashed line those that no gap takes."""
        if self.style == "solid":
            self.canvas.run(x, top, bottom, self.owner)
        elif is_steep:
            # Clipped here, because a range far outside would be walked dot by dot.
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


def _broken(left: int, right: int, breaks: set[int]) -> bool:
    """Say whether the line breaks somewhere from column ``left`` to column ``right``."""
    return bool(breaks) and any(x in breaks for x in range(left, right + 1))
