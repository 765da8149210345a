"""Which sequences a probe steps through, and what of a training they stand for; pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import cycle, islice


def halve(batch_size: int, accumulation: int) -> tuple[int, int]:
    """Return the next smaller batch and more accumulation for the same rows an optimizer step.

    The half, or where that does not divide the batch, the largest part below it that does.
    """
    whole = batch_size * accumulation
    smaller = next(n for n in range(batch_size // 2, 0, -1) if batch_size % n == 0)
    return smaller, whole // smaller


def reached(batch_size: int, accumulation: int, sequences: int) -> tuple[int, int]:
    """Return the batch and accumulation that so few ``sequences`` come to in an epoch."""
    batch = min(batch_size, sequences)
    return batch, min(accumulation, -(-sequences // batch))


def longest(lengths: Sequence[int], count: int) -> list[int]:
    """Return the places of the ``count`` longest, longest first; from the front again if too few."""
    ranked = sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
    return list(islice(cycle(ranked), count))


def drawn(lengths: Sequence[int], count: int, seed: int) -> list[int]:
    """Return ``count`` places as a shuffled epoch begins; from its front again if too few."""
    places = list(range(len(lengths)))
    random.Random(seed).shuffle(places)
    return list(islice(cycle(places), count))


def batches(lengths: Sequence[int], batch_size: int, *, flat: bool) -> list[int]:
    """Return the tokens of each forward pass over ``lengths`` in this order, padding included.

    Rows are padded to the longest of their batch; ``flat``: laid end to end, as packed ones are.
    """
    parts = (lengths[i : i + batch_size] for i in range(0, len(lengths), batch_size))
    return [sum(part) if flat else len(part) * max(part) for part in parts]


def epoch(lengths: Sequence[int], batch_size: int, seed: int, *, flat: bool) -> int:
    """Return the tokens of all forward passes of one shuffled epoch, padding included."""
    order = drawn(lengths, len(lengths), seed)
    return sum(batches([lengths[place] for place in order], batch_size, flat=flat))
