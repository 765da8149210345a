"""Grid of dots, braille (2 x 4 per cell) or ASCII (1 x 3 per cell), and lines drawn on it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal, NamedTuple

LineStyle = Literal["solid", "dashed", "faint"]
BLANK = -1

# Unicode numbers the dots of a braille cell down its columns, the fourth row last
# (The Unicode Standard, section 21.1): bit = value of the dot at [column][row].
_BRAILLE = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_THIRDS = ((0x1, 0x2, 0x4),)
# ASCII characters by the part of the cell they fill: top 1, middle 2, bottom 4.
_ASCII = " '-'.:.|"


class Canvas:
    """Cells of dots or one character, each with one owner (a number).

    The later of two owners in one cell wins: a cell has one color, and a dot in another line's color
    would be wrong.
    """

    def __init__(self, width: int, height: int, *, ascii: bool = False) -> None:
        self.width = width
        self.height = height
        bits = _THIRDS if ascii else _BRAILLE
        self.dots_per_column = len(bits)
        self.dots_per_row = len(bits[0])
        self._glyphs = _ASCII if ascii else " " + "".join(map(chr, range(0x2801, 0x2900)))
        # Per dot column: the bits of a run between two dot rows, inclusive.
        self._runs = [
            [[sum(column[a : b + 1]) for b in range(len(column))] for a in range(len(column))]
            for column in bits
        ]
        self._dots = [0] * (width * height)
        self._owners = [BLANK] * (width * height)
        self._texts: dict[int, str] = {}

    def run(self, x: int, top: int, bottom: int, owner: int) -> None:
        """Draw the dots of column ``x`` from row ``top`` down to ``bottom``, clipped."""
        column, side = divmod(x, self.dots_per_column)
        step = self.dots_per_row
        top, bottom = max(top, 0), min(bottom, self.height * step - 1)
        if top > bottom or not 0 <= column < self.width:
            return
        runs, dots, owners = self._runs[side], self._dots, self._owners
        first, last = top // step, bottom // step
        for row in range(first, last + 1):
            cell = row * self.width + column
            if owners[cell] != owner:
                owners[cell] = owner
                dots[cell] = 0
            a = top - row * step if row == first else 0
            b = bottom - row * step if row == last else step - 1
            dots[cell] |= runs[a][b]

    def put(self, column: int, row: int, text: str, owner: int) -> None:
        """Write ``text`` from (column, row), one character per cell, clipped."""
        if not 0 <= row < self.height:
            return
        for offset, char in enumerate(text):
            if 0 <= column + offset < self.width:
                cell = row * self.width + column + offset
                self._texts[cell] = char
                self._owners[cell] = owner

    def is_blank(self, column: int, row: int, length: int = 1) -> bool:
        """Return whether ``length`` cells from (column, row) exist and are empty."""
        if not (0 <= row < self.height and column >= 0 and column + length <= self.width):
            return False
        start = row * self.width + column
        return all(owner == BLANK for owner in self._owners[start : start + length])

    def row(self, row: int) -> Iterator[tuple[str, int]]:
        """Yield the text of a row from the left, in pieces with one owner."""
        start = row * self.width
        text, current = "", BLANK
        for cell in range(start, start + self.width):
            owner = self._owners[cell]
            if owner != current:
                if text:
                    yield text, current
                text, current = "", owner
            text += self._texts[cell] if cell in self._texts else self._glyphs[self._dots[cell]]
        if text:
            yield text, current


class ColumnSpan(NamedTuple):
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

    def draw(self, spans: Sequence[ColumnSpan], breaks: set[int]) -> None:
        """Draw ``spans`` from left to right, joined except across the dot columns ``breaks``.

        Spans may lie outside the canvas: lines to them are drawn up to the edge.
        """
        if self.style == "faint":
            for span in spans:
                self._draw_halftone(span)
            return
        joined = False
        for span, next_span in zip_longest(spans, spans[1:]):
            if 0 <= span.x < self.across:
                self._draw_column(span.x, span.top, span.bottom, is_steep=False)
            joins = next_span is not None and breaks.isdisjoint(
                range(max(span.x, 0), min(next_span.x + 1, self.across))
            )
            if joins:
                self._join(span, next_span)
            elif not joined and span.top == span.bottom:
                self._draw_lone(span)
            joined = joins

    def _draw_lone(self, span: ColumnSpan) -> None:
        canvas = self.canvas
        column, row = span.x // canvas.dots_per_column, span.top // canvas.dots_per_row
        canvas.put(column, row, self.lone, self.owner)

    def _draw_halftone(self, span: ColumnSpan) -> None:
        inner = range(span.top + (span.x + span.top) % 2, span.bottom, 2)
        for y in {span.top, span.bottom, *inner}:
            self.canvas.run(span.x, y, y, self.owner)

    def _join(self, left: ColumnSpan, right: ColumnSpan) -> None:
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
