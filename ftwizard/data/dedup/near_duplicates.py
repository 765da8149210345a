"""Near-duplicate detection: MinHash finds candidates, exact shingle similarity decides.

Two rows are near-duplicates if the Jaccard similarity of their shingles is at least ``THRESHOLD``,
and that of the words of their answers at least ``ANSWER_THRESHOLD``: two questions about one long
page are not duplicates. The index keeps 136 bytes per row. Candidates are read again and compared
exactly, so hash collisions never make distinct rows duplicates.

Shingles shared by a fifth of the surrounding rows are ignored, such as a fixed prompt or answer
template. Otherwise they would make all rows near-duplicates.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from ftwizard.data.dedup import minhash, shingles
from ftwizard.data.dedup.shingles import Hashes, Sets

THRESHOLD = 0.7
ANSWER_THRESHOLD = 0.5
ANSWER_MARK = "\x1e"
"""Separates prompt and answer in a row's text; without it, answers are not compared separately."""
_COMMON_SHARE = 0.2
_MIN_COMMON_ROWS = 8
"""Minimum rows that must share a shingle for it to be ignored."""
_WINDOW_ROWS = 2048
_WINDOW_CHARACTERS = 4_000_000
_SAMPLED_ROWS = 128
"""Rows of a window sampled to find common shingles."""
_BATCH_ROWS = 64
"""Rows per batch; the hashes of usual rows fit the CPU cache."""
_MAX_CACHED_HASHES = 4_000_000
_QUERY_ROWS = 512


class UnionFind:
    """Disjoint sets of integers that can be joined."""

    def __init__(self) -> None:
        self._parents: dict[int, int] = {}

    def root(self, item: int) -> int:
        """Return the representative of the item's set."""
        parent = self._parents.get(item, item)
        while parent != item:
            above = self._parents.get(parent, parent)
            self._parents[item] = above
            item, parent = parent, above
        return item

    def join(self, a: int, b: int) -> None:
        """Join the sets of two items."""
        low, high = sorted((self.root(a), self.root(b)))
        self._parents[high] = low

    def groups(self) -> Iterable[list[int]]:
        """Return the items of each set."""
        groups: dict[int, list[int]] = {}
        for item in list(self._parents):
            root = self.root(item)
            groups.setdefault(root, [root]).append(item)
        return groups.values()


class _Row(NamedTuple):
    """The hashes of a row that was read again."""

    shingles: Hashes
    answer: Hashes | None

    @property
    def size(self) -> int:
        return self.shingles.size + (0 if self.answer is None else self.answer.size)


class NearIndex:
    """Index of row texts for near-duplicate search.

    Add only one of several equal rows, because equal texts count as near-duplicates.
    """

    def __init__(self, text_of: Callable[[int], str]) -> None:
        """Set ``text_of``, which returns the text of a line again.

        It is called for candidates only, in any order, possibly more than once.
        """
        self._lines = array("q")
        self._bands: list[minhash.Bands] = []
        self._waiting: list[tuple[int, str]] = []
        self._characters = 0
        self._common: Hashes = np.empty(0, dtype=np.uint64)
        self._columns: list[minhash.Column] = []
        self._text_of = text_of
        self._cache: dict[int, _Row] = {}
        self._cached_hashes = 0

    def add(self, line: int, text: str) -> None:
        """Add a row; one shorter than ``shingles.MIN_WORDS`` is never a duplicate."""
        self._waiting.append((line, text))
        self._characters += len(text)
        if len(self._waiting) >= _WINDOW_ROWS or self._characters >= _WINDOW_CHARACTERS:
            self._index_waiting()

    def groups(self) -> list[list[int]]:
        """Return the lines of each group of near-duplicates, two or more, in ascending order.

        Rows are in one group if a chain of near-duplicates connects them.
        """
        sets = UnionFind()
        for row, candidates in self._find_candidates():
            for candidate in candidates:
                if sets.root(row) == sets.root(candidate):
                    continue
                if _similarity(self._get_row(row), self._get_row(candidate)):
                    sets.join(row, candidate)
        return sorted(sorted(self._lines[row] for row in group) for group in sets.groups())

    def nearest(self, rows: Iterable[tuple[int, str]]) -> Iterator[tuple[int, int]]:
        """Yield the line of each of ``rows`` (line, text) with a near-duplicate in the index, and the
        line of the most similar one; of equals, the first."""
        self._index_waiting()
        rows = iter(rows)
        while batch := list(islice(rows, _QUERY_ROWS)):
            sets = shingles.compute_shingles([text for _, text in batch]).without(self._common)
            nonempty = np.flatnonzero(sets.counts)
            for number, candidates in self._find_matches(minhash.compute_bands(sets)):
                line, text = batch[int(nonempty[number])]
                row = self._hash_text(text)
                score, nearest = min((-_similarity(row, self._get_row(i)), i) for i in candidates)
                if score:
                    yield line, self._lines[nearest]

    def _index_waiting(self) -> None:
        """Index the waiting rows, once their common shingles are known."""
        if not self._waiting:
            return
        texts = [text for _, text in self._waiting]
        sets = [
            shingles.compute_shingles(texts[start : start + _BATCH_ROWS])
            for start in range(0, len(texts), _BATCH_ROWS)
        ]
        self._update_common(sets)
        lines = [line for line, _ in self._waiting]
        for batch in sets:
            own = batch.without(self._common)
            self._lines.extend(lines[index] for index in np.flatnonzero(own.counts))
            self._bands.append(minhash.compute_bands(own))
            del lines[: own.counts.size]
        self._waiting, self._characters = [], 0
        self._columns = []
        self._cache, self._cached_hashes = {}, 0

    def _update_common(self, sets: list[Sets]) -> None:
        every = -(-len(self._waiting) // _SAMPLED_ROWS)
        sampled = [np.unique(row) for batch in sets for row in batch.split()[::every] if row.size]
        if len(sampled) < _MIN_COMMON_ROWS:
            return
        values, counts = np.unique(np.concatenate(sampled), return_counts=True)
        common = values[counts >= max(_MIN_COMMON_ROWS, _COMMON_SHARE * len(sampled))]
        self._common = np.union1d(self._common, common)

    def _sorted_columns(self) -> Iterator[minhash.Column]:
        if self._bands:
            self._bands = [np.concatenate(self._bands)]
            yield from minhash.sort_columns(self._bands[0])

    def _find_candidates(self) -> Iterator[tuple[int, list[int]]]:
        """Yield rows with the later rows that share bands with them."""
        self._index_waiting()
        pairs = map(minhash.find_pairs, self._sorted_columns())
        return minhash.rank_candidates(pairs, len(self._lines))

    def _find_matches(self, bands: minhash.Bands) -> Iterator[tuple[int, list[int]]]:
        """Yield numbers of rows in ``bands`` with the indexed rows that share bands with them."""
        self._columns = self._columns or list(self._sorted_columns())
        pairs = map(minhash.find_matches, bands.T, self._columns)
        return minhash.rank_candidates(pairs, len(self._lines))

    def _get_row(self, row: int) -> _Row:
        if (hashes := self._cache.get(row)) is None:
            hashes = self._hash_text(self._text_of(self._lines[row]))
            self._cached_hashes += hashes.size
            if self._cached_hashes > _MAX_CACHED_HASHES:
                self._cache, self._cached_hashes = {}, hashes.size
            self._cache[row] = hashes
        return hashes

    def _hash_text(self, text: str) -> _Row:
        _, mark, answer = text.rpartition(ANSWER_MARK)
        own = shingles.compute_shingles([text]).without(self._common)
        return _Row(np.unique(own.flat), shingles.hash_words(answer) if mark else None)


def _similarity(a: _Row, b: _Row) -> float:
    """Return the similarity of two rows if they are near-duplicates, else 0."""
    score = shingles.similarity(a.shingles, b.shingles)
    if score < THRESHOLD:
        return 0.0
    if a.answer is None or b.answer is None or not a.answer.size + b.answer.size:
        return score
    return score if shingles.similarity(a.answer, b.answer) >= ANSWER_THRESHOLD else 0.0
