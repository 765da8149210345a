"""Texts as sets of hashed shingles: three words in a row, five characters where words are not
spaced.

The hashes are arithmetic on code points and bytes alone: the same on every machine, in every
process, in every version of Python.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]

WORDS = 3
CHARACTERS = 5
MIN_WORDS = 5
"""A text of fewer words has at most two shingles: one changed word changes them all, and two short
texts that share a phrase (“Thank you very much”) are no copies of each other."""
MIN_CHARACTERS = 15
"""The same where characters are compared."""
MIN_SHINGLES = MIN_WORDS - WORDS + 1
MAX_CHARACTERS = 1_000_000
"""Of a longer text the beginning is compared."""
_LONG_WORD = 20
"""Words longer than this on average are none: encoded data, JSON without spaces, a script without
them."""
_SPACELESS_SHARE = 0.3
_SPACELESS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3400, 0x9FFF),  # Han
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


class Sets(NamedTuple):
    """Shingles of several texts, one text's after the other's; a text's own may repeat."""

    flat: Hashes
    counts: Counts
    """How many of them are of each text; 0 for one that is too short to compare."""

    def split(self) -> list[Hashes]:
        """Return each text's shingles."""
        return np.split(self.flat, np.cumsum(self.counts)[:-1])

    def without(self, common: Hashes) -> Sets:
        """Return the sets without what is in ``common`` (sorted); too little left counts as none."""
        if not common.size or not self.flat.size:
            return self
        place = np.searchsorted(common, self.flat)
        place[place == common.size] = 0
        own = common[place] != self.flat
        texts = np.repeat(np.arange(self.counts.size), self.counts)[own]
        counts = np.bincount(texts, minlength=self.counts.size)
        enough = counts >= MIN_SHINGLES
        return Sets(self.flat[own][enough[texts]], np.where(enough, counts, 0).astype(np.int64))


def similarity(a: Hashes, b: Hashes) -> float:
    """Return the Jaccard similarity of two sets, sorted and each hash once; 0 if one is empty."""
    if not a.size or not b.size:
        return 0.0
    both = np.intersect1d(a, b, assume_unique=True).size
    return float(both / (a.size + b.size - both))


def of(texts: Sequence[str]) -> Sets:
    """Return the shingles of ``texts``; case, white space and ASCII punctuation do not count."""
    plain = [_normal(text) for text in texts]
    spaceless = [_is_spaceless(text) for text in plain]
    sets = _by_words([b"" if s else t.encode() for t, s in zip(plain, spaceless, strict=True)])
    if not any(spaceless):
        return sets
    rows = [
        _by_characters(text) if s else row
        for text, s, row in zip(plain, spaceless, sets.split(), strict=True)
    ]
    return Sets(np.concatenate(rows), np.array([row.size for row in rows], dtype=np.int64))


def words_of(text: str) -> Hashes:
    """Return the hashed words of a text, characters where words are not spaced, each once."""
    plain = _normal(text)
    if _is_spaceless(plain):
        codes = _codes(plain)
        return np.unique(codes[_is_character(codes)]).astype(np.uint64)
    data = np.frombuffer(plain.encode() + b"\0", dtype=np.uint8)
    return np.unique(_hash_words(data, *_word_edges(data)))


def _normal(text: str) -> str:
    text = text[:MAX_CHARACTERS].lower()
    if text.isascii():
        return text
    text = unicodedata.normalize("NFC", text).replace("\u00a0", " ").replace("\u3000", " ")
    return text.encode("utf-8", "replace").decode()  # half a surrogate pair has no UTF-8


def _is_spaceless(text: str) -> bool:
    if not text.isascii():
        codes = _codes(text)
        found = np.zeros(codes.size, dtype=bool)
        if codes.max() >= _SPACELESS[0][0]:
            for first, last in _SPACELESS:
                found |= (codes >= first) & (codes <= last)
        if np.count_nonzero(found) > _SPACELESS_SHARE * codes.size:
            return True
    spaces = text.count(" ") + text.count("\n")
    return len(text) > MIN_WORDS * _LONG_WORD and spaces * _LONG_WORD < len(text)


def _codes(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")


def _by_words(texts: list[bytes]) -> Sets:
    """Return hashes of each three words in a row; a word is a run of no space or punctuation."""
    data = np.frombuffer(b"\0".join([*texts, b""]), dtype=np.uint8)
    starts, ends = _word_edges(data)
    words = _hash_words(data, starts, ends)
    begins = np.cumsum([0, *(len(one) + 1 for one in texts)])
    firsts = np.searchsorted(starts, begins)
    counts = np.diff(firsts)
    counts = np.where(counts >= MIN_WORDS, counts - WORDS + 1, 0)
    kept = ranges(firsts[:-1], counts)
    return Sets(mix(words[kept] * _A + words[kept + 1] * _B + words[kept + 2] * _C), counts)


def _word_edges(data: npt.NDArray[np.uint8]) -> tuple[Counts, Counts]:
    """Return where words start and where they end; the last byte is in none."""
    in_word = _IS_WORD[data]
    edges = np.flatnonzero(in_word[1:] != in_word[:-1]) + 1
    if in_word.size and in_word[0]:
        edges = np.concatenate(([0], edges))
    return edges[::2], edges[1::2]


def _hash_words(data: npt.NDArray[np.uint8], starts: Counts, ends: Counts) -> Hashes:
    """Return a polynomial of each word's bytes, from one running sum over all bytes."""
    powers, inverses = _powers(data.size)
    sums = np.zeros(data.size + 1, dtype=np.uint64)
    np.cumsum(_VALUE[data] * powers[: data.size], out=sums[1:])
    return mix((sums[ends] - sums[starts]) * inverses[starts])


def _is_character(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = _IS_WORD[np.minimum(codes, 128)]
    return found


def _by_characters(text: str) -> Hashes:
    codes = _codes(text)
    codes = codes[_is_character(codes)].astype(np.uint64)
    if codes.size < MIN_CHARACTERS:
        return np.empty(0, dtype=np.uint64)
    count = codes.size - CHARACTERS + 1
    total = np.zeros(count, dtype=np.uint64)
    for place in range(CHARACTERS):
        total = (total + codes[place : place + count]) * _A
    return mix(total)


def ranges(firsts: Counts, counts: Counts) -> Counts:
    """Return first, first + 1, … of each range, one range after the other."""
    ends = np.cumsum(counts)
    places = np.arange(counts.sum(), dtype=np.int64)
    found: Counts = places + np.repeat(firsts - (ends - counts), counts)
    return found


def mix(values: Hashes) -> Hashes:
    """Spread what differs in any bit over all bits (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2 ** 64
_A, _B, _C = (
    np.uint64(one) for one in (0x2545F4914F6CDD1D, 0xD6E8FEB86659FD93, 0xCA5A826395121157)
)
_IS_WORD = np.array([byte >= 128 or chr(byte).isalnum() for byte in range(256)])
_VALUE = np.where(_IS_WORD, mix(np.arange(1, 257, dtype=np.uint64)), np.uint64(0))
_tables: list[Hashes] = []


def _powers(size: int) -> tuple[Hashes, Hashes]:
    """Return the powers of the base and of its inverse, at least ``size`` of each."""
    if not _tables or _tables[0].size < size:
        length = max(size, 1 << 18)
        _tables[:] = [
            np.multiply.accumulate(np.full(length, one, dtype=np.uint64))
            for one in (_BASE, pow(_BASE, -1, 1 << 64))
        ]
    return _tables[0], _tables[1]
