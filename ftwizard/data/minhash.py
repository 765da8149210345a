"""Candidates for near copies: rows whose MinHash signatures agree in bands of values.

Signatures are rensa's R-MinHash, ``SIGNATURE`` values a row, of which a hash a band is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ftwizard.data import shingles
from ftwizard.data.shingles import Sets

SIGNATURE = 128
BANDS = 32
"""Of four values each: a pair of similarity 0.7 shares two or more of them with 99.8 % probability,
one of 0.8 practically always, one of 0.3 in 3 of 100 cases."""
_SHARED_BANDS = 2
_SEED = 42
_RUN = 32
"""Rows of one band that are all paired with each other; of more, each with its next and the first."""
_TRIES = 64
"""Rows that one row is compared with, the most alike first."""

Bands = npt.NDArray[np.uint32]
Column = tuple[Bands, npt.NDArray[np.uint32]]
"""A band's hashes in ascending order, and the rows that they are of."""
Rows = npt.NDArray[np.int64]


def bands(sets: Sets) -> Bands:
    """Return a hash a band of each text that has shingles: shape (texts, ``BANDS``)."""
    from rensa import RMinHash

    counts = sets.counts[sets.counts > 0]
    if not counts.size:
        return np.empty((0, BANDS), dtype=np.uint32)
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.uint64)
    signed = RMinHash.digest_matrix_from_flat_token_hashes(sets.flat, offsets, SIGNATURE, _SEED)
    values = np.array(signed.to_rows(), dtype=np.uint64).reshape(counts.size, BANDS, -1)
    total = np.zeros((counts.size, BANDS), dtype=np.uint64)
    for place in range(values.shape[2]):
        total = shingles.mix(total + values[:, :, place])
    return (total >> np.uint64(32)).astype(np.uint32)


def columns(bands: Bands) -> Iterator[Column]:
    """Yield each band's hashes with the rows that they are of, equal ones in the order of rows."""
    for band in range(BANDS):
        order = np.argsort(bands[:, band], kind="stable").astype(np.uint32)
        yield bands[:, band][order], order


def matches(asked: Bands, column: Column) -> tuple[Rows, Rows]:
    """Return pairs: the place of a hash in ``asked``, and a row that has the same in ``column``."""
    values, order = column
    first = np.searchsorted(values, asked, "left")
    count = np.minimum(np.searchsorted(values, asked, "right") - first, _RUN)
    rows = order[shingles.ranges(first, count)].astype(np.int64)
    return np.repeat(np.arange(asked.size), count), rows


def pairs(column: Column) -> tuple[Rows, Rows]:
    """Return pairs of rows, the lower first, whose hash in ``column`` is the same."""
    values, order = column[0], column[1].astype(np.int64)
    new = np.diff(values, prepend=values[:1] + np.uint32(1)) != 0
    starts = np.flatnonzero(new)
    sizes = np.diff(np.append(starts, values.size))
    run = np.repeat(np.arange(starts.size), sizes)
    size = sizes[run]
    many = size > _RUN
    # Rows of one value are in ascending order: the sort is stable.
    firsts = [order[starts[run[many]]]]
    seconds = [order[many]]
    distance, left = 1, np.flatnonzero(size > 1)
    while left.size and distance < _RUN:
        left = left[left + distance < values.size]
        left = left[run[left] == run[left + distance]]
        firsts.append(order[left])
        seconds.append(order[left + distance])
        distance += 1
        if distance == 2:
            left = left[~many[left]]
    first, second = np.concatenate(firsts), np.concatenate(seconds)
    return first[first < second], second[first < second]


class Counted:
    """How many bands pairs of rows share."""

    def __init__(self, rows: int) -> None:
        self._rows = max(rows, 1)
        self._keys: Rows = np.empty(0, dtype=np.int64)
        self._counts: Rows = np.empty(0, dtype=np.int64)

    def add(self, first: Rows, second: Rows) -> None:
        """Count each pair once more; a pair stands in a band once."""
        keys = np.unique(first * self._rows + second)
        known = np.concatenate((self._keys, keys))
        counts = np.concatenate((self._counts, np.ones(keys.size, dtype=np.int64)))
        order = np.argsort(known, kind="stable")
        known = known[order]
        starts = np.flatnonzero(np.diff(known, prepend=-1))
        self._keys = known[starts]
        self._counts = np.add.reduceat(counts[order], starts) if starts.size else counts

    def by_row(self) -> Iterator[tuple[int, list[int]]]:
        """Yield each row with the others that share enough bands with it, the most alike first."""
        enough = self._counts >= _SHARED_BANDS
        rows, others = np.divmod(self._keys[enough], self._rows)
        order = np.lexsort((others, -self._counts[enough], rows))
        rows, others = rows[order], others[order]
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        for start, end in pairwise([*starts.tolist(), rows.size]):
            yield int(rows[start]), others[start : min(end, start + _TRIES)].tolist()
