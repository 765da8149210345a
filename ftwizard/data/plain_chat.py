"""The fast way through chat rows: those that no check has anything to say of are told at once.

It never decides that something is wrong. A row that is not plain beyond doubt goes to the checks
one by one, so that skipping this way changes no answer, only the time.
"""

from __future__ import annotations

import functools
from itertools import accumulate
from typing import Any, Literal

import msgspec

from ftwizard.data import facts as facts_of
from ftwizard.data import formats
from ftwizard.data.checks import of_row
from ftwizard.data.checks.turns import is_blank
from ftwizard.data.conversation import RowProblem
from ftwizard.data.facts import OPENING_BYTES, SEPARATOR
from ftwizard.data.parts import Block
from ftwizard.data.patterns import Patterns, compile_patterns
from ftwizard.data.prefilter import prefilter
from ftwizard.data.row_checker import RowChecker
from ftwizard.data.targets import Target

_MOST_SEQUENCES = 10_000
FILLERS = "\u115f\u1160\u3164\uffa0"
"""Hangul fillers: the only letters that show nothing."""


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    """Of names that are known, msgspec makes no new text each time."""
    content: str


class _Row(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    messages: list[_Message]


class _Sequence:
    """What the roles of a row's messages say of it."""

    __slots__ = ("looks", "plain", "rows", "seed", "system")

    def __init__(self, seed: int, looks: formats.Looks, system: bool) -> None:
        self.seed = seed
        self.looks = looks
        self.system = system
        """Whether the first message is one."""
        self.plain = False
        """The checks have nothing to say of such rows, if nothing is wrong with their texts."""
        self.rows = 0


_Plain = tuple[bytes, bytes, _Sequence]
"""Prompt, answer, what the roles say."""


class PlainChat:
    """Takes blocks of JSON Lines; what is not plain goes to ``checker``."""

    def __init__(self, target: Target, checker: RowChecker) -> None:
        self._target = target
        self._checker = checker
        self._decoder = msgspec.json.Decoder(_Row)
        self._prefilter = prefilter()
        self._reserved = tuple(text.encode() for text in target.reserved)
        self._sequences: dict[tuple[str, ...], _Sequence] = {}

    def take(self, block: Block) -> None:
        """Look through some lines."""
        plain = [self._plain(row) for row in self._decoded(block)]
        self._suspect(plain)
        others = [index for index, row in enumerate(plain) if row is None]
        lines = block.lines() if others else []
        start = 0
        for index in others:
            self._keep(block.line + start, plain[start:index])
            self._checker.take_line(block.line + index, lines[index])
            start = index + 1
        self._keep(block.line + start, plain[start:])

    def _keep(self, line: int, rows: list[Any]) -> None:
        """Take in ``_Plain`` rows, the first of which is on ``line``, with no gap between them."""
        facts, digest = self._checker.facts, facts_of.digest
        facts.lines.extend(range(line, line + len(rows)))
        facts.prompts.extend([digest(prompt, sequence.seed) for prompt, _, sequence in rows])
        facts.answers.extend([digest(answer) for _, answer, _ in rows])
        facts.openings.extend([digest(answer[:OPENING_BYTES]) for _, answer, _ in rows])
        for _, _, sequence in rows:
            sequence.rows += 1
        self._checker.take_plain(line, [sequence.system for _, _, sequence in rows])

    def finish(self) -> None:
        """Count in what the plain rows look like."""
        for sequence in self._sequences.values():
            if sequence.rows:
                self._checker.tally.count(sequence.looks, sequence.rows)

    def _decoded(self, block: Block) -> list[_Row | None]:
        try:
            rows: list[Any] = self._decoder.decode_lines(block.data)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            rows = []
        if len(rows) == block.height and _names_each_key_once(block.data, rows):
            return rows
        return [self._one(line) for line in block.lines()]

    def _one(self, line: bytes) -> _Row | None:
        try:
            row = self._decoder.decode(line)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return None
        return row if _names_each_key_once(line, [row]) else None

    def _plain(self, row: _Row | None) -> _Plain | None:
        """Return what a row comes to; None unless nothing is to be said of its form."""
        if row is None or not row.messages:
            return None
        roles = tuple([message.role for message in row.messages])
        sequence = self._sequences.get(roles) or self._sequence(roles)
        if not sequence.plain:
            return None
        texts = [message.content for message in row.messages]
        for text in texts:
            # As the checks begin: white space around a text, or nothing in it that shows.
            if not text or text != text.strip():
                return None
            first = text[0]
            shows = "!" <= first <= "~" or (first.isalpha() and first not in FILLERS)
            if not shows and is_blank(text):
                return None
        if len(texts) > 1 and texts[-1].startswith(texts[-2]):
            return None  # it may be an echo of the prompt
        *prompt, answer = [text.encode() for text in texts]
        return SEPARATOR.join(prompt), answer, sequence

    def _sequence(self, roles: tuple[str, ...]) -> _Sequence:
        """Return what is known of rows whose messages have these roles and no more than text."""
        row = {"messages": [{"role": role, "content": f"Text {n}"} for n, role in enumerate(roles)]}
        found = _Sequence(
            facts_of.seed_of(roles), formats.recognised(row), roles[0] in ("system", "developer")
        )
        try:
            formats.check(found.looks, "openai-chat", exactly=True)
            said = of_row(formats.example(row, "openai-chat"), self._target)
            found.plain = not said and roles[-1] == "assistant"
        except RowProblem:
            pass
        if len(self._sequences) < _MOST_SEQUENCES:
            self._sequences[roles] = found
        return found

    def _suspect(self, plain: list[_Plain | None]) -> None:
        """Take out of ``plain`` every row whose text the exact checks have to see."""
        texts: list[bytes] = []
        for row in plain:
            texts += (b"", b"") if row is None else row[:2]
        text = SEPARATOR.join(texts)
        hits = self._prefilter.suspects(text)
        hits.extend(self._prefilter.facts(text))
        for reserved in self._reserved:
            hits.extend(_places(text, reserved))
        if not hits:
            return
        ends = list(accumulate(len(one) + len(SEPARATOR) for one in texts))
        at = 0
        for hit in sorted(hits):
            while hit >= ends[at] and at < len(ends) - 1:
                at += 1
            plain[at // 2] = None


def _names_each_key_once(text: bytes, rows: list[_Row]) -> bool:
    """Tell whether ``text`` names no key but those that ``rows`` were made of, each once.

    A quote within a string has a backslash before it, so that quote and colon without one are the
    end of a key. Anything written unusually counts as a no.
    """
    keys = sum([2 * len(row.messages) for row in rows]) + len(rows)
    found = text.count(b'":')
    if found != keys and found - text.count(b'\\":') != keys:
        return False
    return not _spaced().scan(text)


@functools.cache
def _spaced() -> Patterns:
    """Return what finds a key with white space before its colon."""
    return compile_patterns([rb'"[ \t\r\n]+:'])


def _places(text: bytes, wanted: bytes) -> list[int]:
    found, at = [], text.find(wanted)
    while at >= 0:
        found.append(at)
        at = text.find(wanted, at + 1)
    return found
