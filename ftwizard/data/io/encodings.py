"""Encodings of text files: their names, and the likely one of a file that is not UTF-8."""

from __future__ import annotations

import codecs
import logging
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from ftwizard.data.io import signatures
from ftwizard.data.io.compression import Damage
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.text import find_similar, make_visible

_SUPERSETS = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "ascii": "utf-8"}
"""Codecs that are read as a larger one, as browsers do."""
_NAMES = {
    "cp1252": "windows-1252", "cp1250": "windows-1250", "cp1251": "windows-1251",
    "cp1253": "windows-1253", "cp1254": "windows-1254", "cp1255": "windows-1255",
    "cp1256": "windows-1256", "cp1257": "windows-1257", "cp1258": "windows-1258",
    "cp932": "shift_jis", "cp949": "euc-kr", "iso8859-1": "latin-1",
}  # fmt: skip
"""Usual names of codecs, where Python's differ."""
_ALIASES = {"ansi": "cp1252", "windows-31j": "cp932", "windows-936": "gb18030", "cp936": "gb18030"}
_NOT_OF_FILES = frozenset((
    "idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape", "utf-7", "mbcs", "oem",
))  # fmt: skip
_CANDIDATES = (
    "cp1252", "cp932", "euc_jp", "gb18030", "cp1251", "euc_kr", "big5", "cp1250", "koi8_r",
    "cp1254", "cp1253", "cp1255", "cp1256", "mac_roman",
)  # fmt: skip
"""Codecs that are guessed, the most frequent in data files first."""
SUGGESTED = ("windows-1252", "latin-1", "utf-16", "gb18030", "shift_jis", "euc-kr", "big5",
             "windows-1251", "windows-1250", "koi8-r")  # fmt: skip
_GUESS_BYTES = 1 << 14
_SEARCHED_BYTES = 64 << 20
"""Bytes searched for lines that are not ASCII."""
_TIE = 0.02
"""Difference in disorder below which two encodings are equally likely."""
_MAX_DISORDER = 0.5
"""Disorder from which an encoding does not fit. A table with quotation marks reaches 0.25."""
_MAX_MISPLACED = 0.5
"""Share of misplaced characters from which an encoding does not fit if another does."""
_MAX_UTF_8_SHARE = 0.2
"""Share of lines that are UTF-8 by chance; with more, the text is UTF-8 with damaged lines."""
_EXCERPT_CHARACTERS = 60


class LikelyEncoding(msgspec.Struct, frozen=True, kw_only=True):
    """The likely encoding of a text that is not UTF-8."""

    name: str
    certainty: Literal["likely", "possible"]
    """``possible``: other encodings give a different text that is as plausible."""
    others: tuple[str, ...] = ()
    """These encodings."""
    excerpt: str
    """Some of the text as it reads in this encoding, around the first character that is not ASCII."""


def find_codec(name: str) -> str:
    """Return the Python codec for the name of an encoding; raise FtwizardError (``USAGE``)."""
    folded = name.strip().lower().replace("_", "-")
    try:
        codec = codecs.lookup(_ALIASES.get(folded, folded))
    except (LookupError, ValueError):
        codec = None
    # Python has codecs that are not of text, such as Base64.
    if (
        codec is None
        or codec.name in _NOT_OF_FILES
        or not getattr(codec, "_is_text_encoding", True)
    ):
        near = find_similar(folded, SUGGESTED)
        guess = f"Did you mean {near}? " if near else ""
        raise FtwizardError(
            f"Unknown encoding “{make_visible(name, 40)}”.",
            f"{guess}For example: {', '.join(SUGGESTED[:6])}.",
            USAGE,
        )
    codec_name = "utf-8" if codec.name == "utf-8-sig" else codec.name
    return _SUPERSETS.get(codec_name, codec_name)


def choose_codec(name: str, head: bytes) -> str:
    """Return the codec for a text that begins with ``head``, without a byte-order mark."""
    codec = find_codec(name)
    if codec in ("utf-16", "utf-32"):
        detected = signatures.detect_utf_16(head)
        order = "be" if detected and detected.endswith("BE") else "le"
        return f"{codec}-{order}"
    return codec


def get_name(codec: str) -> str:
    """Return the usual name of a codec."""
    name = _NAMES.get(codec, codec.replace("_", "-"))
    return name.upper() if name.startswith("utf") else name


def is_utf_8(blocks: Iterable[bytes]) -> bool:
    """Tell whether a text is UTF-8 by its first block that is not ASCII."""
    try:
        for block in blocks:
            if block.isascii():
                continue
            try:
                codecs.getincrementaldecoder("utf-8")().decode(block)
            except UnicodeDecodeError:
                return False
            return True
    except Damage:
        pass
    return False


def guess_encoding(blocks: Iterable[bytes]) -> LikelyEncoding | None:
    """Return the likely encoding of a text that is not UTF-8; None if none fits."""
    sample = _sample_lines(blocks)
    if not sample:
        return None
    from charset_normalizer import from_bytes

    logging.getLogger("charset_normalizer").setLevel(logging.ERROR)
    matches = list(from_bytes(sample, cp_isolation=list(_CANDIDATES), threshold=_MAX_DISORDER))
    misplaced = {match.encoding: _share_misplaced(str(match)) for match in matches}
    fitting = [m for m in matches if misplaced[m.encoding] < _MAX_MISPLACED] or matches
    if not fitting:
        return None
    best = min(match.chaos for match in fitting)
    tied = [match for match in fitting if match.chaos <= best + _TIE]
    least = min(misplaced[match.encoding] for match in tied)
    names = [
        _choose_name(match.could_be_from_charset)
        for match in tied
        if misplaced[match.encoding] == least
    ]
    first, *rest = sorted(names, key=_CANDIDATES.index)
    return LikelyEncoding(
        name=get_name(find_codec(first)),
        certainty="possible" if rest else "likely",
        others=tuple(get_name(find_codec(name)) for name in rest[:3]),
        excerpt=_make_excerpt(sample.decode(first, "replace")),
    )


def _choose_name(names: Iterable[str]) -> str:
    """Return the most frequent of codecs that give the same text."""
    return min((name for name in names if name in _CANDIDATES), key=_CANDIDATES.index)


def _share_misplaced(text: str) -> float:
    """Return the share of misplaced ones of a text's characters in words that are not ASCII:
    letters that touch one of another script, and symbols between letters."""
    misplaced, count = 0, 0
    for before, char, after in zip(f" {text}", text, f"{text[1:]} ", strict=False):
        letters = [other for other in (before, after) if other.isalpha()]
        if char.isascii() or not letters:
            continue
        if char.isalpha():
            count += 1
            misplaced += any(_is_latin(other) != _is_latin(char) for other in letters)
        elif unicodedata.category(char).startswith("S"):
            count += 1
            misplaced += len(letters) == 2
    return misplaced / count if count else 0.0


def _is_latin(letter: str) -> bool:
    return letter.isascii() or unicodedata.name(letter, "").startswith("LATIN")


def _sample_lines(blocks: Iterable[bytes]) -> bytes:
    """Return the first lines that are not ASCII, up to ``_GUESS_BYTES``; none of a text that is
    UTF-8 but for a few lines."""
    lines, size, valid = list[bytes](), 0, 0
    for line in _iterate_lines(blocks):
        if not line.isascii():
            lines.append(line[:_GUESS_BYTES])
            size += len(lines[-1])
            valid += is_utf_8([line])
        if size >= _GUESS_BYTES:
            break
    if valid > _MAX_UTF_8_SHARE * len(lines):
        return b""
    return b"\n".join(lines)


def _iterate_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of blocks that are not ASCII, cut at the ends of blocks."""
    searched = 0
    try:
        for block in blocks:
            searched += len(block)
            if not block.isascii():
                yield from block.splitlines()
            if searched > _SEARCHED_BYTES:
                return
    except Damage:
        return


def _make_excerpt(text: str) -> str:
    first = next((index for index, char in enumerate(text) if not char.isascii()), 0)
    earliest = max(0, first - _EXCERPT_CHARACTERS // 3)
    # Not within a word.
    start = earliest and (text.find(" ", earliest, first) + 1 or earliest)
    line = text[start : start + _EXCERPT_CHARACTERS].replace("\n", " ")
    return make_visible(line.strip(), _EXCERPT_CHARACTERS)
