"""Hashed shingles of texts: three words, or five characters in scripts without spaces.

The hashes depend only on code points and bytes, so they are the same on every machine, in every
process and every version of Python.
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
"""Minimum words of a compared text. Shorter ones have at most two shingles: one changed word changes
them all, and two short texts that share “Thank you very much” are not duplicates."""
MIN_CHARACTERS = 15
"""The same minimum for texts compared by characters."""
MIN_SHINGLES = MIN_WORDS - WORDS + 1
MAX_CHARACTERS = 1_000_000
"""Only the beginning of longer texts is compared."""
_MAX_MEAN_WORD = 20
"""Average word length above which a text has no real words: encoded data, JSON without spaces, or a
script without spaces."""
_SPACELESS_SHARE = 0.3
_SPACELESS_RANGES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3400, 0x9FFF),  # Han
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


class Sets(NamedTuple):
    """Concatenated shingles of several texts; those of one text may repeat."""

    flat: Hashes
    counts: Counts
    """Shingles of each text; 0 if it is too short to compare."""

    def split(self) -> list[Hashes]:
        """Return the shingles of each text."""
        return np.split(self.flat, np.cumsum(self.counts)[:-1])

    def without(self, common: Hashes) -> Sets:
        """Return the sets without the sorted hashes ``common``; sets left too small become empty."""
        if not common.size or not self.flat.size:
            return self
        index = np.searchsorted(common, self.flat)
        index[index == common.size] = 0
        is_own = common[index] != self.flat
        texts = np.repeat(np.arange(self.counts.size), self.counts)[is_own]
        counts = np.bincount(texts, minlength=self.counts.size)
        enough = counts >= MIN_SHINGLES
        return Sets(self.flat[is_own][enough[texts]], np.where(enough, counts, 0).astype(np.int64))


def similarity(a: Hashes, b: Hashes) -> float:
    """Return the Jaccard similarity of two sorted sets of distinct hashes; 0 if one is empty."""
    if not a.size or not b.size:
        return 0.0
    both = np.intersect1d(a, b, assume_unique=True).size
    return float(both / (a.size + b.size - both))


def compute_shingles(texts: Sequence[str]) -> Sets:
    """Return the shingles of ``texts``, ignoring case, white space and ASCII punctuation."""
    plain = [_normalize(text) for text in texts]
    spaceless = [_is_spaceless(text) for text in plain]
    sets = _shingle_words([b"" if s else t.encode() for t, s in zip(plain, spaceless, strict=True)])
    if not any(spaceless):
        return sets
    rows = [
        _shingle_characters(text) if s else row
        for text, s, row in zip(plain, spaceless, sets.split(), strict=True)
    ]
    return Sets(np.concatenate(rows), np.array([row.size for row in rows], dtype=np.int64))


def hash_words(text: str) -> Hashes:
    """Return the distinct hashed words of a text, or its characters in scripts without spaces."""
    plain = _normalize(text)
    if _is_spaceless(plain):
        codes = _to_codes(plain)
        return np.unique(codes[_is_character(codes)]).astype(np.uint64)
    data = np.frombuffer(plain.encode() + b"\0", dtype=np.uint8)
    return np.unique(_hash_spans(data, *_word_edges(data)))


def _normalize(text: str) -> str:
    text = text[:MAX_CHARACTERS].lower()
    if text.isascii():
        return text
    text = unicodedata.normalize("NFC", text).replace("\u00a0", " ").replace("\u3000", " ")
    return text.encode("utf-8", "replace").decode()  # lone surrogates have no UTF-8 encoding


def _is_spaceless(text: str) -> bool:
    if not text.isascii():
        codes = _to_codes(text)
        in_spaceless = np.zeros(codes.size, dtype=bool)
        if codes.max() >= _SPACELESS_RANGES[0][0]:
            for first, last in _SPACELESS_RANGES:
                in_spaceless |= (codes >= first) & (codes <= last)
        if np.count_nonzero(in_spaceless) > _SPACELESS_SHARE * codes.size:
            return True
    spaces = text.count(" ") + text.count("\n")
    return len(text) > MIN_WORDS * _MAX_MEAN_WORD and spaces * _MAX_MEAN_WORD < len(text)


def _to_codes(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")


def _shingle_words(texts: list[bytes]) -> Sets:
    """Return hashes of every three consecutive words; a word has no spaces or ASCII punctuation."""
    data = np.frombuffer(b"\0".join([*texts, b""]), dtype=np.uint8)
    starts, ends = _word_edges(data)
    words = _hash_spans(data, starts, ends)
    begins = np.cumsum([0, *(len(text) + 1 for text in texts)])
    firsts = np.searchsorted(starts, begins)
    counts = np.diff(firsts)
    counts = np.where(counts >= MIN_WORDS, counts - WORDS + 1, 0)
    kept = concatenate_ranges(firsts[:-1], counts)
    return Sets(mix(words[kept] * _A + words[kept + 1] * _B + words[kept + 2] * _C), counts)


def _word_edges(data: npt.NDArray[np.uint8]) -> tuple[Counts, Counts]:
    """Return the starts and ends of words; the last byte must not be part of a word."""
    in_word = _IS_WORD[data]
    edges = np.flatnonzero(in_word[1:] != in_word[:-1]) + 1
    if in_word.size and in_word[0]:
        edges = np.concatenate(([0], edges))
    return edges[::2], edges[1::2]


def _hash_spans(data: npt.NDArray[np.uint8], starts: Counts, ends: Counts) -> Hashes:
    """Return a polynomial hash of each word's bytes, computed from one cumulative sum."""
    powers, inverses = _compute_powers(data.size)
    sums = np.zeros(data.size + 1, dtype=np.uint64)
    np.cumsum(_VALUE[data] * powers[: data.size], out=sums[1:])
    return mix((sums[ends] - sums[starts]) * inverses[starts])


def _is_character(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    mask: npt.NDArray[np.bool_] = _IS_WORD[np.minimum(codes, 128)]
    return mask


def _shingle_characters(text: str) -> Hashes:
    codes = _to_codes(text)
    codes = codes[_is_character(codes)].astype(np.uint64)
    if codes.size < MIN_CHARACTERS:
        return np.empty(0, dtype=np.uint64)
    count = codes.size - CHARACTERS + 1
    total = np.zeros(count, dtype=np.uint64)
    for shift in range(CHARACTERS):
        total = (total + codes[shift : shift + count]) * _A
    return mix(total)


def concatenate_ranges(firsts: Counts, counts: Counts) -> Counts:
    """Return the concatenated ranges: first, first + 1, … for each."""
    ends = np.cumsum(counts)
    offsets = np.arange(counts.sum(), dtype=np.int64)
    indexes: Counts = offsets + np.repeat(firsts - (ends - counts), counts)
    return indexes


def mix(values: Hashes) -> Hashes:
    """Mix the bits of each value (the finalizer of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2 ** 64
_A, _B, _C = (
    np.uint64(factor) for factor in (0x2545F4914F6CDD1D, 0xD6E8FEB86659FD93, 0xCA5A826395121157)
)
_IS_WORD = np.array([byte >= 128 or chr(byte).isalnum() for byte in range(256)])
_VALUE = np.where(_IS_WORD, mix(np.arange(1, 257, dtype=np.uint64)), np.uint64(0))
_power_tables: list[Hashes] = []


def _compute_powers(size: int) -> tuple[Hashes, Hashes]:
    """Return at least ``size`` powers of the base and of its inverse."""
    if not _power_tables or _power_tables[0].size < size:
        length = max(size, 1 << 18)
        _power_tables[:] = [
            np.multiply.accumulate(np.full(length, base, dtype=np.uint64))
            for base in (_BASE, pow(_BASE, -1, 1 << 64))
        ]
    return _power_tables[0], _power_tables[1]
