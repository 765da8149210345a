"""What the terminal shows, and what has to be sent so that it shows the newest state.

Textual sends all of a widget that changed. Here only the cells that differ go out, and a state that
was never sent costs nothing: the next one is compared with what the terminal really shows.
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


class Look(NamedTuple):
    """A style as parameters of the sequence that turns it on."""

    attributes: str
    ink: str
    """Empty where nothing is seen of it."""
    ground: str


Cell = tuple[str, Look]
"""Text and its look; the second half of a wide character has no text."""
PLAIN = Look("", "39", "49")
"""That of a terminal at the beginning."""
Row = list[Cell | None]
"""None is a cell of which nothing is known."""

# Between two cells that changed, so many that did not are sent again: to jump costs more.
_GAP = 4


class Picture(CompositorUpdate):
    """The newest state of the screen; as an update it is what the terminal lacks of it."""

    def __init__(self) -> None:
        self._wanted: list[Row] = []
        self._shown: list[Row] = []
        self._touched: set[int] = set()
        self._uneven: set[int] = set()
        """Rows that have held characters of another width than one: terminals do not agree on it,
        so such a row is sent whole."""
        self._size = Size(0, 0)

    @property
    def size(self) -> Size:
        """Return that of the screen whose state it is."""
        return self._size

    @property
    def differs(self) -> bool:
        """Say whether the terminal shows anything else."""
        self._touched = {y for y in self._touched if self._wanted[y] != self._shown[y]}
        return bool(self._touched)

    def forget(self) -> None:
        """The terminal may show anything now."""
        self._shown = [[None] * self._size.width for _ in self._wanted]
        self._touched = set(range(len(self._wanted)))

    def take(self, update: CompositorUpdate, size: Size, console: Console) -> None:
        """Take over what an update draws on a screen of this size."""
        if size != self._size:
            self._size = size
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
        """Return what changes what the terminal shows; from then on it counts as shown."""
        out: list[str] = []
        now = PLAIN
        for y in sorted(self._touched):
            wanted, shown = self._wanted[y], self._shown[y]
            whole = y in self._uneven and wanted != shown
            for start, end in [(0, len(wanted))] if whole else _changes(wanted, shown):
                out.append(f"\x1b[{y + 1};{start + 1}H")
                for text, look in filter(None, wanted[start:end]):
                    if look != now:
                        turn, now = _turn(now, look)
                        out.append(turn)
                    out.append(text)
            self._shown[y] = wanted[:]
        self._touched.clear()
        return "".join(out) + ("\x1b[0m" if now != PLAIN else "")


def _strips(update: CompositorUpdate) -> Iterator[tuple[int, int, Strip]]:
    """Yield row, column and content of each piece that an update draws."""
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


def _put(row: Row, x: int, strip: Strip, system: ColorSystem) -> None:
    end = min(x + strip.cell_length, len(row))
    if x >= end:
        return
    for before, half in ((x - 1, x), (end - 1, end)):
        if before >= 0 and half < len(row) and (cell := row[half]) is not None and not cell[0]:
            row[before] = row[half] = (" ", cell[1])  # half a wide character is none
    cells = [cell for segment in strip for cell in _cells(segment, system)][: end - x]
    # A strip that was cut within joined characters has less than it says.
    row[x:end] = cells + [(" ", PLAIN)] * (end - x - len(cells))


def _cells(segment: Segment, system: ColorSystem) -> Sequence[Cell]:
    text, style, _ = segment
    look = _look(style, system) if style else PLAIN
    length = segment.cell_length
    if _is_even(text):
        blank = look if look.attributes else look._replace(ink="")
        return [(char, blank if char == " " else look) for char in text]
    cells: list[Cell] = []
    for char in text:
        wide = get_character_cell_size(char)
        if wide or not cells:
            cells += [(char, look), ("", look)][: max(1, wide)]
        else:
            cells[-1] = (cells[-1][0] + char, look)
    if len(cells) != length:  # joined characters, that only together have this width
        cells = [(text, look), *[("", look)] * length][:length]
    return cells


@lru_cache(4096)
def _is_even(text: str) -> bool:
    """Say whether each character takes one cell, on every terminal."""
    return text.isascii() or all(get_character_cell_size(char) == 1 for char in text)


@lru_cache(4096)
def _look(style: Style, system: ColorSystem) -> Look:
    ink, ground = style.color, style.bgcolor
    return Look(
        Strip.render_ansi(style.without_color, system),
        ";".join(ink.downgrade(system).get_ansi_codes()) if ink else PLAIN.ink,
        ";".join(ground.downgrade(system).get_ansi_codes(False)) if ground else PLAIN.ground,
    )


@lru_cache(4096)
def _turn(before: Look, after: Look) -> tuple[str, Look]:
    """Return what changes one look to another, and the look that this leads to."""
    codes = []
    if before.attributes and before.attributes != after.attributes:
        before = PLAIN
        codes.append("0")
    if after.attributes != before.attributes:
        codes.append(after.attributes)
    reached = after._replace(ink=after.ink or before.ink)
    if reached.ink != before.ink:
        codes.append(reached.ink)
    if reached.ground != before.ground:
        codes.append(reached.ground)
    return f"\x1b[{';'.join(codes)}m" if codes else "", reached


def _changes(wanted: Row, shown: Row) -> Iterator[tuple[int, int]]:
    """Yield where a row has to be sent: first cell, and the one behind the last."""
    start = end = -1
    for x, (new, old) in enumerate(zip(wanted, shown, strict=True)):
        if new is None:  # it cannot be sent, nor passed over without a jump
            if start >= 0:
                yield start, end
            start = -1
            continue
        if new == old:
            continue
        if start >= 0 and x - end > _GAP:
            yield start, end
            start = x
        elif start < 0:
            start = x
        end = x + 1
    if start >= 0:
        yield start, end
