"""From blocks of bytes to text in UTF-8, and to numbered lines of bounded length."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Literal, NamedTuple

from ftwizard.data.conversation import RowProblem
from ftwizard.data.files.unpack import Damage

MAX_LINE = 1 << 28
"""Bytes of the longest line, or row, that is read: 256 MB. The largest row that any target takes
has ten pictures of 10 MB in Base64."""
SHOWN = 4096
"""Bytes kept of a line that is longer."""

Encoding = Literal["utf-8", "utf-16", "utf-32"]
BOMS: tuple[tuple[bytes, Encoding], ...] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
MARK = "\udc80".encode("utf-8", "surrogatepass")
"""Stands in transcoded text, which UTF-8 never holds, where the file's own encoding is broken."""


def _marked(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\udc80", error.end


codecs.register_error("ftwizard.mark", _marked)


def encoding(head: bytes) -> tuple[Encoding, bool]:
    """Return how a file that begins so is encoded, and whether a byte-order mark says it."""
    for mark, name in BOMS:
        if head.startswith(mark):
            return name, True
    return "utf-8", False


def text(blocks: Iterator[bytes], name: Encoding) -> Iterator[bytes]:
    """Yield ``blocks`` in UTF-8, without the byte-order mark they begin with.

    Bytes that are not UTF-8 pass as they are; what is broken in another encoding becomes ``MARK``.
    """
    return _without_mark(blocks) if name == "utf-8" else _transcoded(blocks, name)


def _without_mark(blocks: Iterator[bytes]) -> Iterator[bytes]:
    head = b""
    for block in blocks:
        head += block
        if len(head) >= len(codecs.BOM_UTF8):
            break
    if head := head.removeprefix(codecs.BOM_UTF8):
        yield head
    yield from blocks


def _transcoded(blocks: Iterator[bytes], name: Encoding) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(name)("ftwizard.mark")
    for block in blocks:
        if found := decoder.decode(block):
            yield found.encode("utf-8", "surrogatepass")
    if found := decoder.decode(b"", final=True):
        yield found.encode("utf-8", "surrogatepass")


def too_large() -> RowProblem:
    """Return the problem of a row over ``MAX_LINE``."""
    return RowProblem(
        "too_large", f"it has more than {MAX_LINE >> 20} MB", "shorten it, or split it"
    )


class Line(NamedTuple):
    """One physical line."""

    number: int
    """1-based."""
    data: bytes
    """Without its line feed; of one that is too long, its beginning."""
    too_long: bool = False


class Broken(Damage):
    """Damage, with the line it stands in and what there was of it."""

    def __init__(self, damage: Damage, number: int, rest: bytes) -> None:
        super().__init__(damage.message, damage.fix)
        self.number = number
        self.rest = rest


def lines(blocks: Iterator[bytes], newline: bytes = b"\n") -> Iterator[Line]:
    """Yield the lines of ``blocks``; raises Broken where these raise Damage.

    A line over ``MAX_LINE`` is not held, only passed over.
    """
    number, parts, held = 1, list[bytes](), 0
    try:
        for block in blocks:
            first, *others = block.split(newline)
            held += len(first)
            parts.append(first)
            if held > MAX_LINE:
                parts = [_start(parts)]
            if not others:
                continue
            yield _joined(number, parts, held)
            last = others.pop()
            for line in others:
                number += 1
                yield Line(number, line, len(line) > MAX_LINE)
            number, parts, held = number + 1, [last], len(last)
    except Damage as damage:
        raise Broken(damage, number, b"".join(parts)) from None
    if held:
        yield _joined(number, parts, held)


def _joined(number: int, parts: list[bytes], held: int) -> Line:
    return Line(number, parts[0] if len(parts) == 1 else b"".join(parts), held > MAX_LINE)


def _start(parts: list[bytes]) -> bytes:
    start = b""
    for part in parts:
        start += part[: SHOWN - len(start)]
    return start
