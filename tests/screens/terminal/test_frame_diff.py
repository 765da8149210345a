"""What is sent for a change leaves the terminal as if all had been drawn, and is little."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.geometry import Region, Size
from textual.strip import Strip

from ftwizard.screens.terminal.frame_diff import FrameDiff
from tests.e2e.screen import width

SIZE = Size(24, 4)
CONSOLE = Console(file=io.StringIO(), color_system="truecolor", force_terminal=True)
STYLES = [Style.parse(item) for item in (
    "", "red", "#112233 on #445566", "on #445566", "bold", "bold #112233 on #445566",
    "reverse", "underline on #445566", "#778899 on #445566",
)]  # fmt: skip
JOINED = "\u2764\ufe0fgood \U0001f44d ok"
"""A character that a selector makes wide, and a wide one."""
TEXTS = ["a", " ", "  ", "word", "⠈⢆⣀", "漢字", "é́", "│", "x y"]
_PIECE = re.compile(r"\x1b\[(\d+);(\d+)H|\x1b\[([\d;]*)m|([^\x1b])")


def strip(chance: random.Random, length: int, texts: list[str]) -> Strip:
    """Return a strip of so many cells."""
    segments = [Segment(chance.choice(texts), chance.choice(STYLES)) for _ in range(length)]
    return Strip(segments).crop(0, length)


def whole(rows: list[Strip]) -> LayoutUpdate:
    return LayoutUpdate([[row] for row in rows], Region(0, 0, SIZE.width, SIZE.height))


def part(y: int, x: int, piece: Strip) -> ChopsUpdate:
    end = x + piece.cell_length
    chops: list[Any] = [{x: piece} if row == y else {} for row in range(SIZE.height)]
    ends = [[end] if row == y else [] for row in range(SIZE.height)]
    return ChopsUpdate(chops, [(y, x, end)], ends)


class Seen:
    """A terminal's cells with their styles: what a person can tell apart."""

    def __init__(self) -> None:
        self.cells: dict[tuple[int, int], tuple[Any, ...]] = {}

    def feed(self, data: str) -> None:
        y = x = 0
        attributes: set[str] = set()
        colours = {"3": "", "4": ""}
        for row, column, style, char in _PIECE.findall(data):
            if row:
                y, x = int(row) - 1, int(column) - 1
            elif not char:
                for code in _codes(style):
                    if code in ("", "0"):
                        attributes, colours = set(), {"3": "", "4": ""}
                    elif len(code) > 1 and code[0] in "34":
                        colours[code[0]] = "" if code[1:] == "9" else code
                    else:
                        attributes.add(code)
            elif not width(char):
                text, *look = self.cells[y, x - 1]
                self.cells[y, x - 1] = (text + char, *look)
            else:
                ink = colours["3"] if char != " " or attributes else ""
                for half in range(width(char)):
                    shown = "" if half else char
                    self.cells[y, x + half] = shown, frozenset(attributes), ink, colours["4"]
                x += width(char)
        assert not attributes and not any(colours.values()), "what comes next has no style"


def _codes(style: str) -> Iterator[str]:
    """Yield the parameters of a style; those of a colour of its own together."""
    parts = iter(style.split(";"))
    for code in parts:
        yield code + "".join(next(parts) for _ in range(4)) if code in ("38", "48") else code


@pytest.mark.parametrize("texts", [TEXTS, ["a", " ", "b"]], ids=["any", "narrow"])
@pytest.mark.parametrize("seed", range(15))
def test_changes_lead_to_what_drawing_all_of_it_leads_to(seed: int, texts: list[str]) -> None:
    chance = random.Random(seed)
    picture, recorded = FrameDiff(), Seen()
    rows = [strip(chance, SIZE.width, texts) for _ in range(SIZE.height)]
    picture.take(whole(rows), SIZE, CONSOLE)
    for _ in range(12):
        y, x = chance.randrange(SIZE.height), chance.randrange(SIZE.width - 1)
        piece = strip(chance, chance.randint(1, SIZE.width - x), texts)
        rows[y] = Strip.join([rows[y].crop(0, x), piece, rows[y].crop(x + piece.cell_length)])
        picture.take(part(y, x, piece), SIZE, CONSOLE)
        if chance.random() < 0.6:  # else this state is never sent
            recorded.feed(picture.render_segments(CONSOLE))
    recorded.feed(picture.render_segments(CONSOLE))
    fresh, drawn = FrameDiff(), Seen()
    fresh.take(whole(rows), SIZE, CONSOLE)
    drawn.feed(fresh.render_segments(CONSOLE))
    plain = Seen()
    for y, row in enumerate(rows):
        plain.feed(f"\x1b[{y + 1};1H{row.render(CONSOLE)}")
    assert recorded.cells == drawn.cells == plain.cells


def test_one_cell_costs_a_few_bytes() -> None:
    chance = random.Random(1)
    picture = FrameDiff()
    rows = [strip(chance, SIZE.width, ["a", "b"]) for _ in range(SIZE.height)]
    picture.take(whole(rows), SIZE, CONSOLE)
    picture.render_segments(CONSOLE)
    picture.take(whole(rows), SIZE, CONSOLE)
    assert not picture.differs
    picture.take(part(2, 5, Strip([Segment("c")])), SIZE, CONSOLE)
    assert picture.differs
    assert picture.render_segments(CONSOLE) == "\x1b[3;6Hc"
    assert not picture.differs


def test_what_was_changed_back_is_not_sent() -> None:
    picture = FrameDiff()
    before, after = (Strip([Segment(char * SIZE.width)]) for char in "ab")
    rows = [before] * SIZE.height
    picture.take(whole(rows), SIZE, CONSOLE)
    picture.render_segments(CONSOLE)
    picture.take(part(0, 0, after), SIZE, CONSOLE)
    picture.take(part(0, 0, before), SIZE, CONSOLE)
    assert not picture.differs


def test_a_terminal_that_lost_everything_is_drawn_anew() -> None:
    picture = FrameDiff()
    picture.take(whole([Strip([Segment("a" * SIZE.width)])] * SIZE.height), SIZE, CONSOLE)
    first = picture.render_segments(CONSOLE)
    picture.forget()
    assert picture.differs
    assert picture.render_segments(CONSOLE) == first


def test_a_strip_that_was_cut_within_joined_characters_leaves_its_row_whole() -> None:
    picture = FrameDiff()
    text = Strip([Segment(JOINED)])
    for at in range(1, text.cell_length):
        left, right = text.divide([at, text.cell_length])
        for piece in (left, right):
            picture.take(whole([Strip([Segment(" " * SIZE.width)])] * SIZE.height), SIZE, CONSOLE)
            picture.render_segments(CONSOLE)
            picture.take(part(1, 2, piece), SIZE, CONSOLE)
            picture.render_segments(CONSOLE)
            assert [len(row) for row in picture._wanted] == [SIZE.width] * SIZE.height


def test_a_row_with_characters_of_doubtful_width_is_sent_whole() -> None:
    picture = FrameDiff()
    for last in "ab":
        row = Strip([Segment("\u2764\ufe0f" + "x" * (SIZE.width - 3) + last)])
        picture.take(part(0, 0, row), SIZE, CONSOLE)
        sent = picture.render_segments(CONSOLE)
    assert "\u2764\ufe0fxxx" in sent, "though its last cell alone has changed"
