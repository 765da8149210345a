"""Texts made what they look like: without controls, hidden characters and wrong decoding."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from ftwizard.data import characters
from ftwizard.data.mends.change import Change, shown
from ftwizard.data.mends.places import Path, in_texts, where

# None begins within another that has not ended: a text of nothing but beginnings is passed once.
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]"  # CSI: colours, the cursor
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x80-\x9f]*+(?:\x07|\x1b\\|\x9c)"  # OSC: titles, the clipboard
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x1b\x80-\x9f]*+(?:\x1b\\|\x9c)"  # DCS, SOS, PM, APC
    r"|\x1b[()*+][0-9A-Za-z]"  # a character set
)
_C1 = re.compile(r"[\x80-\x9f]")
# What no text that a person wrote needs: whether it is there is cheap to see in a line of JSON.
_MAYBE = re.compile(rb"\\[ubf]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_MOST_ROUNDS = 10
_SHORTEST_SECRET = 6


def may_need_mending(line: bytes) -> bool:
    """Tell from a row's JSON whether a text in it can need mending; cheap, and never wrongly no."""
    return not line.isascii() or _MAYBE.search(line) is not None


def mend(row: Any) -> list[Change]:
    """Mend every text in a row, in its place, and return the changes."""
    changes: list[Change] = []
    for container, key, path in in_texts(row):
        text: str = container[key]
        if text.isascii() and not characters.CONTROL.search(text):
            continue
        mended = text
        for code, was, now in _steps(text):
            mended = now
            changes.append(_change(code, path, was, now))
        container[key] = mended
    return changes


def _steps(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield code, text before and text after each mend of a text that changes it."""
    for _ in range(_MOST_ROUNDS):
        before = text
        for code, step in _STEPS:
            if (now := step(text)) != text:
                yield code, text, now
                text = now
        if text == before:  # what is taken out can join what stood on both sides
            return


def _without_sequences(text: str) -> str:
    if not characters.CONTROL.search(text):
        return text
    for _ in range(_MOST_ROUNDS):  # one can stand within another
        text, count = _SEQUENCES.subn("", text)
        if not count:
            break
    return text


def _decoded(text: str) -> str:
    """Return a text that was decoded wrongly as it was meant, if that is certain."""
    if text.isascii():
        return text
    if characters.is_mojibake(text):
        import ftfy

        # Its other fixes change what is not broken, or put U+FFFD for what is lost.
        config = ftfy.TextFixerConfig(
            restore_byte_a0=True, replace_lossy_sequences=False, decode_inconsistent_utf8=True,
            fix_c1_controls=False,
        )  # fmt: skip
        text = ftfy.fix_encoding(text, config)
    if _C1.search(text):
        from ftfy.fixes import fix_c1_controls

        text = str(fix_c1_controls(text))
    return text


def _without_controls(text: str) -> str:
    if "\b" in text:
        text = "\n".join(_typed_over(line) if "\b" in line else line for line in text.split("\n"))
    return characters.CONTROL.sub("", text)


def _typed_over(line: str) -> str:
    """Return a line with backspaces as a terminal shows it."""
    cells: list[str] = []
    place = 0
    for char in line:
        if char == "\b":
            place = max(0, place - 1)
            continue
        cells[place : place + 1] = [char]
        place += 1
    return "".join(cells)


_STEPS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("control_char", _without_sequences),
    ("mojibake", _decoded),
    ("control_char", _without_controls),
    ("bidi", characters.without_bidi),
    ("hidden_text", characters.without_hidden),
)


def _change(code: str, path: Path, was: str, now: str) -> Change:
    """Return what a mend changed, cut to the places where the texts differ, without secrets."""
    start = 0
    while start < min(len(was), len(now)) and was[start] == now[start]:
        start += 1
    end = 0
    while end < min(len(was), len(now)) - start and was[-1 - end] == now[-1 - end]:
        end += 1
    pieces = was[start : len(was) - end], now[start : len(now) - end]
    return Change(code, where(path), *(shown(_harmless(piece)) for piece in pieces))


def _harmless(piece: str) -> str:
    from ftwizard.data.secrets import redact  # what it searches with is heavy

    return redact(piece) if len(piece) >= _SHORTEST_SECRET else piece
