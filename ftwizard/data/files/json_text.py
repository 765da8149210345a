"""JSON text of which a part is in hand."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import msgspec

from ftwizard.data.conversation import RowProblem
from ftwizard.data.files.json_bounds import BLANKS, STRING, TOKEN, Malformed, is_sound, sound_end
from ftwizard.data.files.lines import MAX_LINE
from ftwizard.data.files.unpack import Damage

HEAD = 1 << 16
"""Bytes by which the layout of a text is told."""
KEY = re.compile(rb"[ \t\r\n]*+(" + STRING + rb")[ \t\r\n]*+:[ \t\r\n]*+", re.DOTALL)
_TRIES = 20_000
_LARGE = 1 << 20
"""Bytes of a value by which it is asked whether it is not several."""
_FIRST_KEY = re.compile(rb"""\{\s*+["']([^"'\\]++)["']\s*+:""")
_OPENING = re.compile(rb'\{[ \t\r\n]*+"\Z')


class JsonText:
    """A place in JSON text: ``data`` is in hand from ``place`` on."""

    def __init__(self, blocks: Iterator[bytes], newline: bytes) -> None:
        """Begin at the beginning of ``blocks``."""
        self._blocks = blocks
        self._newline = newline
        self.data = b""
        self.place = 0
        self.line = 1
        """1-based, of the place."""
        self.margin: bytes | None = b""
        """The blanks that stand before the place on its line; None: there is more than blanks."""
        self.final = False
        """All there is is in hand."""
        self.damage: Damage | None = None
        """Why there is no more."""
        self.searched = 0
        """Bytes that were searched for the ends of damaged values."""
        self.stopped = False
        """Why nothing more is read has been told."""
        self._model = b""
        self._like: re.Pattern[bytes] | None = None

    def more(self) -> bool:
        """Take more in hand, at least as much again as there is; False where there is none."""
        parts = [self.data[self.place :]]
        wanted, size = max(len(parts[0]), 1), 0
        try:
            while size < wanted and (block := next(self._blocks, b"")):
                parts.append(block)
                size += len(block)
        except Damage as damage:
            self.damage = damage
        self.data, self.place = b"".join(parts), 0
        self.final = size < wanted
        return size > 0

    def have(self, count: int) -> None:
        """Take ``count`` bytes in hand where there are so many."""
        while len(self.data) - self.place < count and not self.final:
            self.more()

    def peek(self) -> bytes:
        """Pass blanks and return the next character; empty at the end."""
        while True:
            blanks = BLANKS.match(self.data, self.place)[0]  # type: ignore[index]  # matches always
            if (line := blanks.rfind(self._newline)) >= 0:
                self.margin = blanks[line + 1 :]
            elif self.margin is not None:
                self.margin += blanks
            self.line += blanks.count(self._newline)
            self.place += len(blanks)
            if self.place < len(self.data):
                return self.data[self.place : self.place + 1]
            if not self.more():
                return b""

    def advance(self, count: int) -> bytes:
        """Pass ``count`` bytes and return them."""
        passed = self.data[self.place : self.place + count]
        self.line += passed.count(self._newline)
        self.place += count
        self.margin = None
        return passed

    def sound(self, start: int = 0) -> int:
        """Return the length of what ends where the value that begins ``start`` bytes from here does.

        Raises Malformed where there is no JSON value, or one of more than ``MAX_LINE``.
        """
        while True:
            found = sound_end(self.data, self.place + start, final=self.final)
            if found is not None:
                return found - self.place
            size = len(self.data) - self.place
            if size > MAX_LINE or (size > _LARGE and start == 0 and self.swallows(size)):
                raise Malformed
            self.more()

    def row(self, count: int) -> bytes:
        """Pass a sound value of ``count`` bytes and return it."""
        if not self._model and self.data[self.place : self.place + 1] == b"{":
            self._model = self.data[self.place : self.place + count]
        return self.advance(count)

    def margin_after(self, passed: bytes) -> bytes | None:
        """Return what ``margin`` is behind what was ``passed``."""
        margin = passed[passed.rfind(self._newline) + 1 :]
        return None if margin.strip() else margin

    def after(self, count: int) -> bytes:
        """Return the first character after ``count`` bytes from here that is no blank."""
        while True:
            end = BLANKS.match(self.data, self.place + count).end()  # type: ignore[union-attr]
            if end < len(self.data):
                return self.data[end : end + 1]
            if not self.more():
                return b""

    def like(self) -> re.Pattern[bytes] | None:
        """Return a pattern of where an object begins with a key that the first row has, or where
        there was none yet, with the first key of what stands here; None: neither has any."""
        if self._like:
            return self._like
        keys: list[bytes] = []
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            keys = [msgspec.json.encode(key) for key in msgspec.json.decode(self._model)]
        if not keys:
            self._model = b""
        if not keys and (first := _FIRST_KEY.match(self.data, self.place)):
            keys = [b'"' + first[1] + b'"']
        if not keys:
            return None
        named = b"|".join(map(re.escape, keys[:20]))
        found = re.compile(rb"\{[ \t\r\n]*+(?:" + named + rb")[ \t\r\n]*+:")
        self._like = found if self._model else None
        return found

    def swallows(self, count: int) -> bool:
        """Say whether another row begins within ``count`` bytes, at the margin of the place: a
        bracket is missing, and what follows has closed it."""
        if self.margin is None:
            return False
        if not self.margin and (not self._model or self._newline in self._model):
            return False  # nothing is indented: what is within a row begins there too
        start = self._newline + self.margin + b"{"
        if self.data.find(start, self.place + 1, self.place + count) < 0:
            return False
        return self.find_at_margin(count) is not None

    def find_at_margin(self, within: int) -> int | None:
        """Return how many bytes from here the next object begins at the margin of the place that
        is like a row; it is looked for ``within`` so many bytes."""
        if self.margin is None:
            return None
        self.have(within)
        like, place = self.like(), self.place
        start = self._newline + self.margin + b"{"
        while (place := self.data.find(start, place + 1, self.place + within)) >= 0:
            brace = place + len(start) - 1
            if like is None or like.match(self.data, brace):
                return brace - self.place
        return None

    def find_in_strings(self, within: int) -> int | None:
        """Return where the next sound object begins that is like a row and stands in what quotes
        make a string: there is one too many, or too few, before it."""
        if (like := self.like()) is None:
            return None
        for token in TOKEN.finditer(self.data, self.place, self.place + within):
            opening = _OPENING.search(token[0], max(0, len(token[0]) - 100))
            if opening and len(token[0]) > 1:
                brace = token.start() + opening.start()
                if like.match(self.data, brace) and self._is_sound(brace - self.place):
                    return brace - self.place
        return None

    def find_sound(self, within: int) -> int | None:
        """Return how many bytes from here the next object begins that is like a row and sound."""
        if (like := self.like()) is None:
            return None
        start = 1
        for _ in range(_TRIES):
            self.have(within)
            found = like.search(self.data, self.place + start, self.place + within)
            if found is None:
                return None
            start = found.start() - self.place
            if self._is_sound(start):
                return start
            start += 1
        return None

    def _is_sound(self, start: int) -> bool:
        try:
            end = self.sound(start)
        except Malformed:
            return False
        return is_sound(self.data[self.place + start : self.place + end])

    def key(self) -> bytes | None:
        """Pass a key and its colon and return it as it is written; None where there is none."""
        while not (found := KEY.match(self.data, self.place)) or found.end() == len(self.data):
            if len(self.data) - self.place > HEAD or not self.more():
                return None
        self.advance(found.end() - self.place)
        return found[1]

    def cut(self) -> RowProblem:
        """Return why the text ends here."""
        if self.damage:
            return RowProblem(self.damage.code, self.damage.message, self.damage.fix)
        return RowProblem(
            "invalid_json",
            "the JSON breaks off before its end",
            "was the download interrupted? Fetch it again, or close its brackets",
        )
