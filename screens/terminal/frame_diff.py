"""Frame differences: the cells that the terminal lacks of the newest state.

Textual resends a whole widget when it changes. Here only changed cells are sent. Skipped states cost
nothing: each frame is compared with what the terminal actually shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from rich.cells import get_character_cell_size
from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.geometry import Size
from textual.strip import Strip


class CellStyle(NamedTuple):
    """A style as parameters of its SGR escape sequence."""

    attributes: str
    foreground: str
    """Empty if the cell shows no foreground."""
    background: str


Cell = tuple[str, CellStyle]
"""Text and style; the second half of a wide character has no text."""
PLAIN = CellStyle("", "39", "49")
"""Initial style of a terminal."""
CellRow = list[Cell | None]
"""None is a cell with unknown content."""

# Unchanged cells between two changes that are sent again: moving the cursor costs more.
_GAP = 4


class FrameDiff(CompositorUpdate):
    """The newest state of the screen; renders only what the terminal does not show yet."""

    def __init__(self) -> None:
        self._wanted: list[CellRow] = []
        self._shown: list[CellRow] = []
        self._touched: set[int] = set()
        self._uneven: set[int] = set()
        """Rows that contained characters not one cell wide: terminals disagree on their width, so
        these rows are sent whole."""
        self.size = Size(0, 0)
        """Size of the screen."""

    @property
    def differs(self) -> bool:
        self._touched = {y for y in self._touched if self._wanted[y] != self._shown[y]}
        return bool(self._touched)

    def forget(self) -> None:
        self._shown = [[None] * self.size.width for _ in self._wanted]
        self._touched = set(range(len(self._wanted)))

    def take(self, update: CompositorUpdate, size: Size, console: Console) -> None:
        if size != self.size:
            self.size = size
            self._wanted = [[None] * size.width for _ in range(size.height)]
            self._uneven.clear()
            self.forget()
        system = console._color_system or ColorSystem.TRUECOLOR
        for y, x, strip in _strips(update):
            if 0 <= y < size.height:
                self._touched.add(y)
                if not all(_is_even(segment.text) for segment in strip):
                    self._uneven.add(y)
                _put(self._wanted[y], x, strip, system)

    def render_segments(self, console: Console) -> str:
        """Return the escape sequences for the changes, and count them as shown."""
        out: list[str] = []
        current = PLAIN
        for y in sorted(self._touched):
            wanted, shown = self._wanted[y], self._shown[y]
            whole = y in self._uneven and wanted != shown
            for start, end in [(0, len(wanted))] if whole else _changes(wanted, shown):
                out.append(f"\x1b[{y + 1};{start + 1}H")
                for text, style in filter(None, wanted[start:end]):
                    if style != current:
                        sequence, current = _switch_style(current, style)
                        out.append(sequence)
                    out.append(text)
            self._shown[y] = wanted[:]
        self._touched.clear()
        return "".join(out) + ("\x1b[0m" if current != PLAIN else "")


def _strips(update: CompositorUpdate) -> Iterator[tuple[int, int, Strip]]:
    """Yield row, column and content of each part of an update."""
    if isinstance(update, LayoutUpdate):
        for y, strips in enumerate(update.strips, update.region.y):
            x = update.region.x
            for strip in strips:
                yield y, x, strip
                x += strip.cell_length
    elif isinstance(update, ChopsUpdate):
        for y, x1, x2 in update.spans:
            for end, (x, chop) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
                if chop is not None and x < x2 and end > x1:
                    yield y, x, chop if end <= x2 else chop.crop(0, x2 - x)


def _put(row: CellRow, x: int, strip: Strip, system: ColorSystem) -> None:
    end = min(x + strip.cell_length, len(row))
    if x >= end:
        return
    for before, half in ((x - 1, x), (end - 1, end)):
        if before >= 0 and half < len(row) and (cell := row[half]) is not None and not cell[0]:
            row[before] = row[half] = (" ", cell[1])  # half a wide character cannot be shown
    cells = [cell for segment in strip for cell in _cells(segment, system)][: end - x]
    # A strip cut within joined characters is shorter than its length.
    row[x:end] = cells + [(" ", PLAIN)] * (end - x - len(cells))


def _cells(segment: Segment, system: ColorSystem) -> Sequence[Cell]:
    text, style, _ = segment
    cell_style = _to_cell_style(style, system) if style else PLAIN
    length = segment.cell_length
    if _is_even(text):
        blank = cell_style if cell_style.attributes else cell_style._replace(foreground="")
        return [(char, blank if char == " " else cell_style) for char in text]
    cells: list[Cell] = []
    for char in text:
        width = get_character_cell_size(char)
        if width or not cells:
            cells += [(char, cell_style), ("", cell_style)][: max(1, width)]
        else:
            cells[-1] = (cells[-1][0] + char, cell_style)
    if len(cells) != length:  # joined characters that have this width only together
        cells = [(text, cell_style), *[("", cell_style)] * length][:length]
    return cells


@lru_cache(4096)
def _is_even(text: str) -> bool:
    """Return whether each character takes one cell on every terminal."""
    return text.isascii() or all(get_character_cell_size(char) == 1 for char in text)


@lru_cache(4096)
def _to_cell_style(style: Style, system: ColorSystem) -> CellStyle:
    attributes = Strip.render_ansi(style.without_color, system)
    foreground, background = PLAIN.foreground, PLAIN.background
    if style.color:
        foreground = ";".join(style.color.downgrade(system).get_ansi_codes())
    if style.bgcolor:
        background = ";".join(style.bgcolor.downgrade(system).get_ansi_codes(False))
    return CellStyle(attributes, foreground, background)


@lru_cache(4096)
def _switch_style(before: CellStyle, after: CellStyle) -> tuple[str, CellStyle]:
    """Return the sequence that switches styles, and the style in effect after it."""
    codes = []
    if before.attributes and before.attributes != after.attributes:
        before = PLAIN
        codes.append("0")
    if after.attributes != before.attributes:
        codes.append(after.attributes)
    result = after._replace(foreground=after.foreground or before.foreground)
    if result.foreground != before.foreground:
        codes.append(result.foreground)
    if result.background != before.background:
        codes.append(result.background)
    return f"\x1b[{';'.join(codes)}m" if codes else "", result


def _changes(wanted: CellRow, shown: CellRow) -> Iterator[tuple[int, int]]:
    """Yield the ranges of a row to send: first cell, and the one after the last."""
    start = end = -1
    for x, (new, old) in enumerate(zip(wanted, shown, strict=True)):
        if new is not None and new == old:
            continue
        # An unknown cell cannot be sent, and skipping it takes a cursor move.
        if start >= 0 and (new is None or x - end > _GAP):
            yield start, end
            start = -1
        if new is not None:
            start, end = x if start < 0 else start, x + 1
    if start >= 0:
        yield start, end
