"""Training rows near to an answer, by the word n-grams that they have in common."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from ftwizard.runs.evaluation import NearRow

WORDS = 3
MAX_NEAR = 3
"""Rows for each query."""
MIN_SHARE = 0.1
"""Share of a query's n-grams below which a row is not near: common phrases reach it."""
MAX_COMMON_SHARE, MAX_COMMON_ROWS, MIN_COMMON_ROWS = 0.2, 1000, 5
"""An n-gram in more rows is part of their format, and shows nothing."""
SAMPLE = 2000
"""Rows in which the most common n-grams are looked for first."""
MAX_TEXT = 600
"""Characters of a row that are kept."""
_WORD = re.compile(r"\w+")
Gram = tuple[str, ...]
Row = tuple[int, str, str]
"""Line, prompt and answer."""


def find_near_rows(queries: Sequence[str], rows: Sequence[Row]) -> list[list[NearRow]]:
    """Return the nearest rows of each query, the nearest first: often none.

    Prompts and answers of the rows both count. The time is about two passes over their words; the
    memory is bounded by the n-grams of the queries, however many rows share them.
    """
    grams = [split_grams(query) for query in queries]
    wanted = frozenset[Gram]().union(*grams)
    limit = max(MIN_COMMON_ROWS, min(MAX_COMMON_SHARE * len(rows), MAX_COMMON_ROWS))
    common = _find_common(wanted, rows, limit)
    places = _locate(wanted - common, rows)
    common |= {gram for gram, indices in places.items() if len(indices) > limit}
    return [_rank(query - common, places, rows) for query in grams]


def split_grams(text: str) -> frozenset[Gram]:
    """Return the word n-grams of a text; the whole text is one if it has fewer words."""
    words = _WORD.findall(text.casefold())
    if len(words) < WORDS:
        return frozenset([tuple(words)]) if words else frozenset()
    return frozenset(_list_grams(words, WORDS))


def _list_grams(words: Sequence[str], length: int) -> Iterable[Gram]:
    return zip(*(words[start:] for start in range(length)), strict=False)


def _find_common(wanted: frozenset[Gram], rows: Sequence[Row], limit: float) -> frozenset[Gram]:
    """Return the n-grams that are in clearly more than ``limit`` rows, by a sample of them."""
    sample = rows[:: max(1, len(rows) // SAMPLE)]
    counts = Counter({gram: len(indices) for gram, indices in _locate(wanted, sample).items()})
    most = max(MIN_COMMON_ROWS, limit * len(sample) / max(1, len(rows)) * 2)
    return frozenset(gram for gram, count in counts.items() if count > most)


def _locate(wanted: frozenset[Gram], rows: Sequence[Row]) -> dict[Gram, list[int]]:
    """Return the indices of the rows that have each n-gram."""
    places: dict[Gram, list[int]] = {}
    lengths = {len(gram) for gram in wanted}
    for index, (_, prompt, answer) in enumerate(rows):
        words = _WORD.findall(f"{prompt}\n{answer}".casefold())
        for length in lengths:
            for gram in wanted.intersection(_list_grams(words, length)):
                places.setdefault(gram, []).append(index)
    return places


def _rank(
    query: frozenset[Gram], places: dict[Gram, list[int]], rows: Sequence[Row]
) -> list[NearRow]:
    """Return the rows that contain the largest share of a query's n-grams, the first ones first."""
    counts: Counter[int] = Counter()
    for gram in query:
        counts.update(places.get(gram, ()))
    near = []
    for index in sorted(counts, key=lambda index: (-counts[index], index))[:MAX_NEAR]:
        line, prompt, answer = rows[index]
        share = counts[index] / len(query)
        if share >= MIN_SHARE:
            text = f"{prompt}\n{answer}".strip()[:MAX_TEXT]
            near.append(NearRow(line=line, share=round(share, 3), text=text))
    return near
