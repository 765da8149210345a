"""Choice of a probe's sequences, and the token counts of a training's batches; pure functions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import cycle, islice


def halve(batch_size: int, accumulation: int) -> tuple[int, int]:
    """Return the next smaller batch, with the accumulation for the same rows per optimizer step.

    That is half the batch, or the largest divisor below it.
    """
    rows_per_step = batch_size * accumulation
    smaller = next(size for size in range(batch_size // 2, 0, -1) if batch_size % size == 0)
    return smaller, rows_per_step // smaller


def effective_batch(batch_size: int, accumulation: int, sequences: int) -> tuple[int, int]:
    """Return the batch and accumulation that an epoch of ``sequences`` reaches."""
    batch = min(batch_size, sequences)
    return batch, min(accumulation, -(-sequences // batch))


def longest(lengths: Sequence[int], count: int) -> list[int]:
    """Return the indices of the ``count`` longest, longest first, repeating them if too few."""
    ranked = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    return list(islice(cycle(ranked), count))


def shuffled(lengths: Sequence[int], count: int, seed: int) -> list[int]:
    """Return the first ``count`` indices of a shuffled epoch, repeating it if too few."""
    indices = list(range(len(lengths)))
    random.Random(seed).shuffle(indices)
    return list(islice(cycle(indices), count))


def tokens_per_pass(lengths: Sequence[int], batch_size: int, *, flat: bool) -> list[int]:
    """Return the tokens of each forward pass over ``lengths`` in order, including padding.

    Rows are padded to the longest of their batch, or laid end to end if ``flat``, as with packing.
    """
    parts = (lengths[i : i + batch_size] for i in range(0, len(lengths), batch_size))
    return [sum(part) if flat else len(part) * max(part) for part in parts]


def tokens_per_epoch(lengths: Sequence[int], batch_size: int, seed: int, *, flat: bool) -> int:
    """Return the tokens of all forward passes of a shuffled epoch, including padding."""
    order = shuffled(lengths, len(lengths), seed)
    return sum(tokens_per_pass([lengths[index] for index in order], batch_size, flat=flat))
