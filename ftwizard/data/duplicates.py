"""Rows that are nearly the same: MinHash finds who may be, their shingles say whether they are.

Two rows are near copies if the Jaccard similarity of their shingles is ``THRESHOLD`` or more, and
that of their answers' words ``ANSWER_THRESHOLD``: two questions about one long page are no copies.
An index keeps 136 bytes a row; rows that may be copies are read again and compared exactly, so that
distinct rows are never called copies, whatever hashes collide.

Shingles that a fifth of the rows around have are left out: the fixed words of a prompt, the form of
an answer. What all rows share says nothing about two of them, and would make copies of them all.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from ftwizard.data import minhash, shingles
from ftwizard.data.joined import Joined
from ftwizard.data.shingles import Hashes, Sets

THRESHOLD = 0.7
ANSWER_THRESHOLD = 0.5
ANSWER_MARK = "\x1e"
"""Stands between what was asked and the answer in a row's text; without it there is no answer that
is compared apart."""
_COMMON_SHARE = 0.2
_COMMON_ROWS = 8
"""At least: what fewer rows have in common is not what all share."""
_WINDOW_ROWS = 2048
_WINDOW_CHARACTERS = 4_000_000
_SAMPLED_ROWS = 128
"""Of a window, to see what its rows share."""
_BATCH_CHARACTERS = 1 << 18
"""Whose hashes stay in a processor's cache."""
_KEPT_HASHES = 4_000_000
_QUERY_ROWS = 512


class _Row(NamedTuple):
    """A row that was read again."""

    shingles: Hashes
    answer: Hashes | None

    @property
    def size(self) -> int:
        return self.shingles.size + (0 if self.answer is None else self.answer.size)


class NearIndex:
    """Rows by what they say, for finding those that are nearly the same.

    Add one of several rows that are exactly equal: equal texts count as near copies here.
    """

    def __init__(self, text_of: Callable[[int], str]) -> None:
        """``text_of`` returns the text of a line again: only rows that may be copies are asked for
        (``suspects``), in no certain order, some more than once."""
        self._text_of = text_of
        self._lines = array("q")
        self._bands: list[minhash.Bands] = []
        self._waiting: list[tuple[int, str]] = []
        self._characters = 0
        self._common: Hashes = np.empty(0, dtype=np.uint64)
        self._columns: list[minhash.Column] = []
        self._kept: dict[int, _Row] = {}
        self._kept_size = 0

    def add(self, line: int, text: str) -> None:
        """Take in a row; one that is too short (``shingles.MIN_WORDS``) is a copy of none."""
        self._waiting.append((line, text))
        self._characters += len(text)
        if len(self._waiting) >= _WINDOW_ROWS or self._characters >= _WINDOW_CHARACTERS:
            self._take_in()

    def groups(self) -> list[list[int]]:
        """Return the lines of each group of near copies, two or more, in ascending order.

        Rows are of one group where a chain of near copies leads from one to the other.
        """
        joined = Joined()
        for row, others in self._candidates():
            for other in others:
                if joined.root(row) == joined.root(other):
                    continue
                if _similarity(self._row(row), self._row(other)):
                    joined.join(row, other)
        return sorted(sorted(self._lines[row] for row in group) for group in joined.groups())

    def suspects(self) -> list[int]:
        """Return the lines that ``groups`` may ask for, in ascending order."""
        rows = {one for row, others in self._candidates() for one in (row, *others)}
        return sorted(self._lines[row] for row in rows)

    def nearest(self, rows: Iterable[tuple[int, str]]) -> Iterator[tuple[int, int]]:
        """Yield each of ``rows`` (line, text) that has a near copy here, and the line of the
        nearest, the first of equals."""
        self._take_in()
        rows = iter(rows)
        while batch := list(islice(rows, _QUERY_ROWS)):
            sets = shingles.of([text for _, text in batch]).without(self._common)
            asked = np.flatnonzero(sets.counts)
            for number, others in self._matches(minhash.bands(sets)):
                line, text = batch[int(asked[number])]
                one = self._read(text)
                found = min((-_similarity(one, self._row(other)), other) for other in others)
                if found[0]:
                    yield line, self._lines[found[1]]

    def _take_in(self) -> None:
        """Sign the rows that wait, once what they share is known."""
        if not self._waiting:
            return
        sets = [shingles.of(texts) for texts in _batches([text for _, text in self._waiting])]
        self._learn_common(sets)
        lines = [line for line, _ in self._waiting]
        for one in sets:
            own = one.without(self._common)
            self._lines.extend(lines[index] for index in np.flatnonzero(own.counts))
            self._bands.append(minhash.bands(own))
            del lines[: own.counts.size]
        self._waiting, self._characters = [], 0
        self._columns, self._kept, self._kept_size = [], {}, 0

    def _learn_common(self, sets: list[Sets]) -> None:
        every = -(-len(self._waiting) // _SAMPLED_ROWS)
        sampled = [np.unique(row) for one in sets for row in one.split()[::every] if row.size]
        if len(sampled) < _COMMON_ROWS:
            return
        values, counts = np.unique(np.concatenate(sampled), return_counts=True)
        common = values[counts >= max(_COMMON_ROWS, _COMMON_SHARE * len(sampled))]
        self._common = np.union1d(self._common, common)

    def _sorted_columns(self) -> Iterator[minhash.Column]:
        if self._bands:
            self._bands = [np.concatenate(self._bands)]
            yield from minhash.columns(self._bands[0])

    def _candidates(self) -> Iterator[tuple[int, list[int]]]:
        """Yield rows with those after them that share bands with them."""
        self._take_in()
        counted = minhash.Counted(len(self._lines))
        for column in self._sorted_columns():
            counted.add(*minhash.pairs(column))
        return counted.by_row()

    def _matches(self, bands: minhash.Bands) -> Iterator[tuple[int, list[int]]]:
        """Yield numbers of rows of ``bands`` with the rows here that share bands with them."""
        counted = minhash.Counted(len(self._lines))
        self._columns = self._columns or list(self._sorted_columns())
        for asked, column in zip(bands.T, self._columns, strict=False):
            counted.add(*minhash.matches(asked, column))
        return counted.by_row()

    def _row(self, row: int) -> _Row:
        found = self._kept.get(row)
        if found is None:
            found = self._read(self._text_of(self._lines[row]))
            self._kept_size += found.size
            if self._kept_size > _KEPT_HASHES:
                self._kept, self._kept_size = {}, found.size
            self._kept[row] = found
        return found

    def _read(self, text: str) -> _Row:
        _, mark, answer = text.rpartition(ANSWER_MARK)
        own = shingles.of([text]).without(self._common)
        return _Row(np.unique(own.flat), shingles.words_of(answer) if mark else None)


def near_leakage(train: NearIndex, validation: Iterable[tuple[int, str]]) -> list[tuple[int, int]]:
    """Return each validation line with a near copy in training, and that one's line.

    Leave out rows that stand in training as they are: they would be found again here.
    """
    return list(train.nearest(validation))


def _similarity(one: _Row, other: _Row) -> float:
    """Return how alike two rows are if they are near copies, else 0."""
    found = shingles.similarity(one.shingles, other.shingles)
    if found < THRESHOLD:
        return 0.0
    if one.answer is None or other.answer is None or not one.answer.size + other.answer.size:
        return found
    return found if shingles.similarity(one.answer, other.answer) >= ANSWER_THRESHOLD else 0.0


def _batches(texts: list[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
