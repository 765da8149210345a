"""The rows of a JSON array, or of objects one after another, with never more than a row in hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from ftwizard.data import strict_json
from ftwizard.data.conversation import RowProblem
from ftwizard.data.files.json_bounds import BLANKS, Cut, Malformed, balanced_end, sound_end
from ftwizard.data.files.json_text import HEAD, KEY, JsonText
from ftwizard.data.files.lines import MAX_LINE
from ftwizard.data.files.names import FIELDS, LISTS
from ftwizard.data.quoted import quoted

Row = tuple[int, bytes | RowProblem]
"""The line it begins at, 1-based, and its JSON."""
_OBJECTS = re.compile(rb"\[[ \t\r\n]*+\{")
_MESSAGE = re.compile(rb'\[[ \t\r\n]*+\{[^{}\[\]]{0,4096}?"(?:role|from)"[ \t\r\n]*+:')
_BALANCED = 1 << 20
"""Bytes within which the end of a damaged row is looked for by its brackets; all rows together
take ``_PATIENCE`` of them, then it is ``_NEAR``."""
_PATIENCE = 1 << 26
_NEAR = 1 << 14
_SEARCHED = 1 << 24
"""Bytes within which, after damage, the beginning of another row is looked for."""
_On = Literal["on", "here"]
"""How it goes on after a value: with what may follow one, or with the next."""


def wrapped(head: bytes) -> tuple[str, int] | None:
    """Return the key under which an object that begins so holds a file's rows, and where their
    list begins; None where it is no such object."""
    place = len(BLANKS.match(head)[0])  # type: ignore[index]  # it matches always
    if head[place : place + 1] != b"{":
        return None
    place += 1
    while key := KEY.match(head, place):
        name, place = key[1][1:-1].decode("utf-8", "replace"), key.end()
        if name.lower() in LISTS and _OBJECTS.match(head, place):
            return None if _MESSAGE.match(head, place) else (name, place)
        if name.lower() in FIELDS:
            return None  # it is a row itself
        try:
            end = sound_end(head, place, final=False)
        except Malformed:
            return None
        if end is None:
            return None
        place = BLANKS.match(head, end).end()  # type: ignore[union-attr]  # it matches always
        if head[place : place + 1] != b",":
            return None
        place += 1
    return None


def array(blocks: Iterator[bytes], newline: bytes = b"\n") -> Iterator[Row]:
    """Yield the elements of the array that ``blocks`` hold, whole or with what breaks it."""
    text = JsonText(blocks, newline)
    text.peek()
    text.advance(1)
    yield from _members(text)
    yield from _after(text)


def objects(blocks: Iterator[bytes], newline: bytes = b"\n") -> Iterator[Row]:
    """Yield the values that stand one after another, each over as many lines as it likes."""
    yield from _sequence(JsonText(blocks, newline))


def list_in_object(blocks: Iterator[bytes], newline: bytes = b"\n") -> Iterator[Row]:
    """Yield the elements of the list that ``wrapped`` finds; another list is a problem."""
    text = JsonText(blocks, newline)
    text.peek()
    text.have(HEAD)
    found = wrapped(text.data[text.place : text.place + HEAD])
    if found is None:
        yield from _sequence(text)
        return
    name, place = found
    text.advance(place + 1)
    yield from _members(text)
    if not text.stopped and text.peek() not in (b"", b",", b"}"):
        yield from _after(text)  # a bracket too many: the object neither goes on nor ends
        return
    while not text.stopped and text.peek() == b",":
        text.advance(1)
        text.peek()
        line, key = text.line, text.key()
        if key is None:
            break
        text.have(HEAD)
        other = key[1:-1].decode("utf-8", "replace")
        if other.lower() in FIELDS or _OBJECTS.match(text.data, text.place):
            yield line, _other(name, other)
        try:
            text.advance(text.sound())
        except Malformed:
            break
    if (char := text.peek()) == b"}":
        text.advance(1)
    if char in (b"}", b"{", b"[", b"]", b","):
        yield from _after(text)
    elif not text.stopped:
        yield text.line, text.cut()


def _other(name: str, other: str) -> RowProblem:
    return RowProblem(
        "ambiguous_format",
        f"the rows under “{quoted(name, 40)}” are read; what stands under "
        f"“{quoted(other, 40)}” is not",
        "save each list as a file of its own, one object a line",
    )


def _members(text: JsonText) -> Iterator[Row]:
    """Yield the elements up to the closing bracket and pass it."""
    separated, told = True, False
    while (char := text.peek()) != b"]":
        if not char:
            yield text.line, text.cut()
            text.stopped = True
            return
        if char == b",":
            yield text.line, _stray("a comma too many stands here")
            text.advance(1)
            continue
        if not separated and not told:
            told = True
            yield text.line, _stray("commas are missing between the rows from here on")
        line = text.line
        value, on = _value(text, b",]")
        yield line, value
        if text.stopped:
            return
        if on == "here":
            separated = True
        elif separated := text.peek() == b",":
            text.advance(1)
            if text.peek() == b"]":
                yield text.line, _stray("a comma follows the last row")
    text.advance(1)


def _sequence(text: JsonText) -> Iterator[Row]:
    """Yield the values up to the text's end."""
    told = False
    while char := text.peek():
        if char == b",":
            if not told:
                told = True
                yield text.line, _stray("commas stand between the rows, and no brackets around")
            text.advance(1)
            continue
        line = text.line
        value, _ = _value(text, b",{[")
        yield line, value
        if text.stopped:
            return
    if text.damage:
        yield text.line, text.cut()


def _after(text: JsonText) -> Iterator[Row]:
    """Yield what follows the end of an array, where nothing should."""
    if text.stopped:
        return
    if char := text.peek():
        yield (
            text.line,
            RowProblem(
                "extra_data",
                "the array ends before here and more follows",
                "keep one array in a file, or write one object a line",
            ),
        )
        while char == b"[" and not text.stopped:
            text.advance(1)
            yield from _members(text)
            char = text.peek()
        if not text.stopped:
            yield from _sequence(text)
    elif text.damage:
        yield text.line, text.cut()


def _value(text: JsonText, follows: bytes) -> tuple[bytes | RowProblem, _On]:
    """Pass a value and return it, or why there is none.

    ``follows``: what may stand after it, if anything does.
    """
    is_cut = False
    try:
        size = text.sound()
        if not text.swallows(size):
            return text.row(size), "on"
    except Cut:
        is_cut = True
    except Malformed:
        pass
    return _damaged(text, follows, is_cut)


def _damaged(text: JsonText, follows: bytes, is_cut: bool) -> tuple[bytes | RowProblem, _On]:
    """Pass a value that is no JSON, or the beginning of one where ``is_cut``."""
    within = _BALANCED if text.searched < _PATIENCE else _NEAR
    text.have(within)
    end = balanced_end(text.data, text.place, min(len(text.data), text.place + within))
    size = None if end is None else end - text.place
    text.searched += size or within
    is_word = text.data[text.place : text.place + 1] not in (b"{", b"[")
    # What begins as a row at the margin is one, whatever a quote too many may make of it.
    at = text.find_at_margin(within if size is None or is_word else size)
    at = at or text.find_in_strings(size or within)
    if not at and not is_cut:
        if size is not None and text.after(size) in follows:
            return text.advance(size), "on"
        at = text.find_sound(_SEARCHED)
    if at:
        return _passed(text, at), "here"
    text.stopped = True
    return text.cut() if is_cut else _end(text), "here"


def _passed(text: JsonText, count: int) -> RowProblem:
    """Pass what cannot be read and return why."""
    passed = text.advance(count)
    text.margin = text.margin_after(passed)
    return strict_json.problem(passed.rstrip(b", \t\r\n")) or _stray("it has no end")


def _end(text: JsonText) -> RowProblem:
    if text.damage:
        return text.cut()
    if len(text.data) - text.place > MAX_LINE:
        return RowProblem(
            "too_large", f"it has more than {MAX_LINE >> 20} MB", "nothing after it can be read"
        )
    cause = strict_json.problem(text.data[text.place : text.place + _SEARCHED])
    if cause is None or not text.final:
        return RowProblem(
            "invalid_json",
            "brackets or quotes do not match from here on",
            "correct it; nothing after it can be read",
        )
    return RowProblem(cause.code, cause.message, f"{cause.fix}; nothing after it can be read")


def _stray(what: str) -> RowProblem:
    return RowProblem("invalid_json", what, "correct the JSON, or save it as one object a line")
