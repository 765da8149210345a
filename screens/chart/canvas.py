"""Drawing grid of dots: braille (2 x 4 per cell) or ASCII (1 x 3 per cell)."""

from __future__ import annotations

from collections.abc import Iterator

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
