"""Terminal screen that interprets what this app may send and records everything else."""

from __future__ import annotations

import codecs
import re
import unicodedata

MODES = {"7", "25", "1004", "1049", "2004"}
"""Line wrap, cursor, focus reports, alternate screen, bracketed paste."""
AT_REST = {"7", "25"}
"""Modes that are on before a program starts and after it exits."""
_SEQUENCE = re.compile(
    r"""\x1b\[(?P<row>\d+);(?P<column>\d+)H
    | \x1b\[(?P<style>[\d;]*)m
    | \x1b\[\?(?P<mode>\d+)(?P<to>[hl])
    | \x1b\[\?(?:2026|2048)\$p      # queries: synchronized output, resize reports
    | \x1b\[(?:>\d+u|<u)            # the kitty keyboard protocol, on and off
    | \x1b\[(?P<question>6n)
    | \x1b(?P<cursor>[78])          # save and restore the cursor
    | \x1b\]22;[a-z-]+\x07          # the shape of the mouse pointer
    | \x1b\](?P<notice>(?:9|777);[^\x00-\x1f\x7f-\x9f]*)\x07
    """,
    re.VERBOSE,
)
_INCOMPLETE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]{0,300})?\Z")
"""An incomplete sequence."""


class Screen:
    """Drawn cells; ``foreign`` holds everything that the app must not send."""

    def __init__(self, columns: int, rows: int) -> None:
        self.foreign: list[str] = []
        self.beyond: list[str] = []
        """Text drawn past the edge of the window."""
        self.notices: list[str] = []
        """Desktop notifications that the app sent."""
        self.bells = 0
        self.questions: list[tuple[int, int]] = []
        """Row and column, from 1, at each query for the cursor position."""
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
        """Resize and clear the screen, since the app redraws all of it."""
        self.columns, self.rows = columns, rows
        self.clear()

    def clear(self) -> None:
        self._cells = [[None] * self.columns for _ in range(self.rows)]

    def feed(self, data: bytes) -> None:
        """Interpret a program's output."""
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
            elif _INCOMPLETE.match(text, index):
                self._rest = text[index:]
                return
            else:
                self.foreign.append(text[index : index + 40])
                index += 1

    def text(self) -> str:
        """Return the rows without trailing blanks."""
        return "\n".join("".join(cell or "" for cell in row).rstrip() for row in self._cells)

    def holes(self) -> list[tuple[int, int]]:
        """Return (row, column) of the cells that were never drawn."""
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
    """Return a character's width in cells, from the Unicode tables."""
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
