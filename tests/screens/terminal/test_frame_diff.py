"""Incremental screen updates: the same cells as a full redraw, with little output."""

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
"""A character that a variation selector makes wide, and a wide character."""
TEXTS = ["a", " ", "  ", "word", "⠈⢆⣀", "漢字", "é́", "│", "x y"]
_PIECE = re.compile(r"\x1b\[(\d+);(\d+)H|\x1b\[([\d;]*)m|([^\x1b])")


def strip(rng: random.Random, length: int, texts: list[str]) -> Strip:
    """Return a random strip of ``length`` cells."""
    segments = [Segment(rng.choice(texts), rng.choice(STYLES)) for _ in range(length)]
    return Strip(segments).crop(0, length)


def full_update(rows: list[Strip]) -> LayoutUpdate:
    return LayoutUpdate([[row] for row in rows], Region(0, 0, SIZE.width, SIZE.height))


def partial_update(y: int, x: int, piece: Strip) -> ChopsUpdate:
    end = x + piece.cell_length
    chops: list[Any] = [{x: piece} if row == y else {} for row in range(SIZE.height)]
    ends = [[end] if row == y else [] for row in range(SIZE.height)]
    return ChopsUpdate(chops, [(y, x, end)], ends)


class TerminalCells:
    """The cells of a terminal with their styles, as a person sees them."""

    def __init__(self) -> None:
        self.cells: dict[tuple[int, int], tuple[Any, ...]] = {}

    def feed(self, data: str) -> None:
        y = x = 0
        attributes: set[str] = set()
        colors = {"3": "", "4": ""}
        for row, column, style, char in _PIECE.findall(data):
            if row:
                y, x = int(row) - 1, int(column) - 1
            elif not char:
                for code in _codes(style):
                    if code in ("", "0"):
                        attributes, colors = set(), {"3": "", "4": ""}
                    elif len(code) > 1 and code[0] in "34":
                        colors[code[0]] = "" if code[1:] == "9" else code
                    else:
                        attributes.add(code)
            elif not width(char):
                text, *look = self.cells[y, x - 1]
                self.cells[y, x - 1] = (text + char, *look)
            else:
                ink = colors["3"] if char != " " or attributes else ""
                for half in range(width(char)):
                    shown = "" if half else char
                    self.cells[y, x + half] = shown, frozenset(attributes), ink, colors["4"]
                x += width(char)
        assert not attributes and not any(colors.values()), "a style is left on at the end"


def _codes(style: str) -> Iterator[str]:
    """Yield the parameters of a style; the five of an extended color as one string."""
    parts = iter(style.split(";"))
    for code in parts:
        yield code + "".join(next(parts) for _ in range(4)) if code in ("38", "48") else code


@pytest.mark.parametrize("texts", [TEXTS, ["a", " ", "b"]], ids=["any", "narrow"])
@pytest.mark.parametrize("seed", range(15))
def test_incremental_updates_match_a_full_redraw(seed: int, texts: list[str]) -> None:
    rng = random.Random(seed)
    diff, recorded = FrameDiff(), TerminalCells()
    rows = [strip(rng, SIZE.width, texts) for _ in range(SIZE.height)]
    diff.take(full_update(rows), SIZE, CONSOLE)
    for _ in range(12):
        y, x = rng.randrange(SIZE.height), rng.randrange(SIZE.width - 1)
        piece = strip(rng, rng.randint(1, SIZE.width - x), texts)
        rows[y] = Strip.join([rows[y].crop(0, x), piece, rows[y].crop(x + piece.cell_length)])
        diff.take(partial_update(y, x, piece), SIZE, CONSOLE)
        if rng.random() < 0.6:  # otherwise this state is never sent
            recorded.feed(diff.render_segments(CONSOLE))
    recorded.feed(diff.render_segments(CONSOLE))
    fresh, drawn = FrameDiff(), TerminalCells()
    fresh.take(full_update(rows), SIZE, CONSOLE)
    drawn.feed(fresh.render_segments(CONSOLE))
    plain = TerminalCells()
    for y, row in enumerate(rows):
        plain.feed(f"\x1b[{y + 1};1H{row.render(CONSOLE)}")
    assert recorded.cells == drawn.cells == plain.cells


def test_one_changed_cell_sends_only_that_cell() -> None:
    rng = random.Random(1)
    diff = FrameDiff()
    rows = [strip(rng, SIZE.width, ["a", "b"]) for _ in range(SIZE.height)]
    diff.take(full_update(rows), SIZE, CONSOLE)
    diff.render_segments(CONSOLE)
    diff.take(full_update(rows), SIZE, CONSOLE)
    assert not diff.differs
    diff.take(partial_update(2, 5, Strip([Segment("c")])), SIZE, CONSOLE)
    assert diff.differs
    assert diff.render_segments(CONSOLE) == "\x1b[3;6Hc"
    assert not diff.differs


def test_reverted_change_is_not_sent() -> None:
    diff = FrameDiff()
    before, after = (Strip([Segment(char * SIZE.width)]) for char in "ab")
    rows = [before] * SIZE.height
    diff.take(full_update(rows), SIZE, CONSOLE)
    diff.render_segments(CONSOLE)
    diff.take(partial_update(0, 0, after), SIZE, CONSOLE)
    diff.take(partial_update(0, 0, before), SIZE, CONSOLE)
    assert not diff.differs


def test_forget_redraws_the_whole_frame() -> None:
    diff = FrameDiff()
    diff.take(full_update([Strip([Segment("a" * SIZE.width)])] * SIZE.height), SIZE, CONSOLE)
    first = diff.render_segments(CONSOLE)
    diff.forget()
    assert diff.differs
    assert diff.render_segments(CONSOLE) == first


def test_strip_cut_inside_a_wide_character_keeps_row_widths() -> None:
    diff = FrameDiff()
    text = Strip([Segment(JOINED)])
    for at in range(1, text.cell_length):
        left, right = text.divide([at, text.cell_length])
        for piece in (left, right):
            diff.take(
                full_update([Strip([Segment(" " * SIZE.width)])] * SIZE.height), SIZE, CONSOLE
            )
            diff.render_segments(CONSOLE)
            diff.take(partial_update(1, 2, piece), SIZE, CONSOLE)
            diff.render_segments(CONSOLE)
            assert [len(row) for row in diff._wanted] == [SIZE.width] * SIZE.height


def test_row_with_ambiguous_width_is_sent_in_full() -> None:
    diff = FrameDiff()
    for last in "ab":
        row = Strip([Segment("\u2764\ufe0f" + "x" * (SIZE.width - 3) + last)])
        diff.take(partial_update(0, 0, row), SIZE, CONSOLE)
        sent = diff.render_segments(CONSOLE)
    assert "\u2764\ufe0fxxx" in sent, "although only its last cell changed"
