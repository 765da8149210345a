"""A terminal screen that obeys what this app may send, and records everything else."""

from __future__ import annotations

import codecs
import re
import unicodedata

MODES = {"7", "25", "1004", "1049", "2004"}
"""Line wrap, cursor, focus reports, alternate screen, bracketed paste."""
AT_REST = {"7", "25"}
"""The modes that are on before a program starts, and again after it has left."""
_SEQUENCE = re.compile(
    r"""\x1b\[(?P<row>\d+);(?P<column>\d+)H
    | \x1b\[(?P<style>[\d;]*)m
    | \x1b\[\?(?P<mode>\d+)(?P<to>[hl])
    | \x1b\[\?(?:2026|2048)\$p      # does it know synchronised output, resize reports?
    | \x1b\[(?:>\d+u|<u)            # the kitty keyboard protocol, on and off
    | \x1b\[(?P<question>6n)
    | \x1b(?P<cursor>[78])          # keep its place, and go back there
    | \x1b\]22;[a-z-]+\x07          # the shape of the mouse pointer
    | \x1b\](?P<notice>(?:9|777);[^\x00-\x1f\x7f-\x9f]*)\x07
    """,
    re.VERBOSE,
)
_BEGUN = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]{0,300})?\Z")
"""A sequence of which the rest has not arrived."""


class Screen:
    """Cells as they are drawn; ``foreign`` holds whatever the app itself would never send."""

    def __init__(self, columns: int, rows: int) -> None:
        self.foreign: list[str] = []
        self.beyond: list[str] = []
        """Text that stood beyond the edge of the window."""
        self.notices: list[str] = []
        """Notifications that were asked for."""
        self.bells = 0
        self.questions: list[tuple[int, int]] = []
        """Row and column, from 1, each time that it was asked where the cursor is."""
        self.styles: set[str] = set()
        """Parameters of all SGR sequences so far."""
        self.modes = set(AT_REST)
        self.columns, self.rows = columns, rows
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
        self._rest = ""
        self._row = self._column = 0
        self._kept = 0, 0
        self._cells: list[list[str | None]] = []
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int) -> None:
        """Take another size; what was drawn is forgotten, as the app draws all of it anew."""
        self.columns, self.rows = columns, rows
        self.clear()

    def clear(self) -> None:
        self._cells = [[None] * self.columns for _ in range(self.rows)]

    def feed(self, data: bytes) -> None:
        """Obey what a program has written."""
        text = self._rest + self._decoder.decode(data)
        self._rest = ""
        index = 0
        while index < len(text):
            char = text[index]
            if char != "\x1b":
                self._put(char)
                index += 1
            elif match := _SEQUENCE.match(text, index):
                self._obey(match)
                index = match.end()
            elif _BEGUN.match(text, index):
                self._rest = text[index:]
                return
            else:
                self.foreign.append(text[index : index + 40])
                index += 1

    def text(self) -> str:
        """Return the rows, without the blanks at their ends."""
        return "\n".join("".join(cell or "" for cell in row).rstrip() for row in self._cells)

    def holes(self) -> list[tuple[int, int]]:
        """Return (row, column) of the cells that nothing was ever drawn in."""
        return [
            (y, x)
            for y, row in enumerate(self._cells)
            for x, cell in enumerate(row)
            if cell is None
        ]

    def _obey(self, sequence: re.Match[str]) -> None:
        if sequence["row"]:
            self._row, self._column = int(sequence["row"]) - 1, int(sequence["column"]) - 1
        elif sequence["question"]:
            self.questions.append((self._row + 1, self._column + 1))
        elif sequence["cursor"]:
            if sequence["cursor"] == "7":
                self._kept = self._row, self._column
            self._row, self._column = self._kept
        elif sequence["notice"] is not None:
            self.notices.append(sequence["notice"])
        elif sequence["style"] is not None:
            self.styles.add(sequence["style"])
        elif mode := sequence["mode"]:
            if mode not in MODES:
                self.foreign.append(sequence[0])
            (self.modes.add if sequence["to"] == "h" else self.modes.discard)(mode)
            if mode == "1049":
                self.clear()

    def _put(self, char: str) -> None:
        if char == "\r":
            self._column = 0
        elif char == "\n":
            self._row += 1
        elif char == "\a":
            self.bells += 1
        elif unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            self.foreign.append(char)
        elif wide := width(char):
            self._draw(char, wide)
        elif 0 < self._column <= self.columns and self._row < self.rows:
            before = self._cells[self._row][self._column - 1]
            self._cells[self._row][self._column - 1] = (before or "") + char

    def _draw(self, char: str, wide: int) -> None:
        if self._row >= self.rows or self._column + wide > self.columns:
            self.beyond.append(f"{char!r} at row {self._row}, column {self._column}")
            return
        row = self._cells[self._row]
        row[self._column] = char
        if wide == 2:
            row[self._column + 1] = ""
        self._column += wide


def width(char: str) -> int:
    """Return the cells that a terminal gives a character, by Unicode's own tables."""
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
