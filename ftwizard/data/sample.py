"""Stratified samples of rows, of which a larger one contains every smaller one."""

from __future__ import annotations

import bisect
import heapq
import itertools
from collections.abc import Iterator, Mapping

from ftwizard.data import grouping
from ftwizard.data.dedup import canonical_text
from ftwizard.data.example import Example
from ftwizard.data.reader import ParsedRow

LENGTH_CLASSES = 4
"""Classes of length, with about the same number of rows each."""


def draw_rows(rows: list[ParsedRow], count: int, seed: int) -> list[ParsedRow]:
    """Draw ``count`` rows, in proportion to their kind and length; all rows if there are not more.

    The rows keep their order. The result depends only on their contents and the seed, and contains
    that of any smaller ``count``. Each stratum has its exact share, give or take one row.
    """
    if count >= len(rows):
        return rows
    examples = [row.example for row in rows]
    members: dict[tuple[str, int], list[int]] = {}
    order = sorted(
        (grouping.rank(grouping.prompt_key(example), seed), index)
        for index, example in enumerate(examples)
    )
    strata = find_strata(examples)
    for _, index in order:
        members.setdefault(strata[index], []).append(index)
    waiting = {stratum: iter(indexes) for stratum, indexes in members.items()}
    sizes = {stratum: len(members[stratum]) for stratum in sorted(members)}
    drawn = {
        next(waiting[stratum]) for stratum in itertools.islice(interleave_strata(sizes), count)
    }
    return [row for index, row in enumerate(rows) if index in drawn]


def find_strata(examples: list[Example]) -> list[tuple[str, int]]:
    """Return the stratum of each row: its kind, as in a split, and its class of length."""
    lengths = [_measure(example) for example in examples]
    ordered = sorted(lengths)
    bounds = [ordered[len(ordered) * part // LENGTH_CLASSES] for part in range(1, LENGTH_CLASSES)]
    classes = (bisect.bisect_right(bounds, length) for length in lengths)
    return list(zip(grouping.describe_kinds(examples), classes, strict=True))


def _measure(example: Example) -> int:
    """Return the length of a row, in tokens of a pretokenized one, else in characters."""
    if example.tokens:
        return len(example.tokens.get("input_ids", ()))
    return len(canonical_text.row_text(example))


def interleave_strata(sizes: Mapping[tuple[str, int], int]) -> Iterator[tuple[str, int]]:
    """Yield the stratum of each row of a complete draw, so that any beginning is in proportion.

    After ``n`` rows, a stratum has less than one row more or less than its exact share of ``n``.
    Source: Tijdeman 1980, The chairman assignment problem. The row with the earliest deadline is
    next; a row is not drawn before its release.
    """
    total = sum(sizes.values())
    slack = 1 / max(2, 2 * len(sizes) - 2)
    # (step of the release, deadline, stratum), for the next row of each stratum
    unreleased = [(slack * total / size, (1 - slack) * total / size, stratum, 0)
                  for stratum, size in sizes.items()]  # fmt: skip
    heapq.heapify(unreleased)
    released: list[tuple[float, tuple[str, int], int]] = []
    for step in range(1, total + 1):
        # Rounding may leave no row released; then the next release counts.
        while unreleased and (unreleased[0][0] <= step or not released):
            _, deadline, stratum, number = heapq.heappop(unreleased)
            heapq.heappush(released, (deadline, stratum, number))
        _, stratum, number = heapq.heappop(released)
        yield stratum
        if number + 1 < sizes[stratum]:
            each = total / sizes[stratum]
            release, deadline = (number + 1 + slack) * each, (number + 2 - slack) * each
            heapq.heappush(unreleased, (release, deadline, stratum, number + 1))
