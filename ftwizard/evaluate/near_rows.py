"""Training rows near to an answer, by the word n-grams that they have in common."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from ftwizard.runs.evaluation import NearRow

WORDS = 3
MAX_NEAR = 3
"""Rows for each query."""
MIN_SHARE = 0.1
"""Share of a query's n-grams below which a row is not near: common phrases reach it."""
MAX_COMMON_SHARE = 0.2
"""An n-gram in a larger share of the rows is part of their format, and shows nothing."""
MIN_COMMON_ROWS = 5
MAX_TEXT = 2000
"""Characters of a row that are kept."""
_WORD = re.compile(r"\w+")
Gram = tuple[str, ...]


def find_near_rows(
    queries: Sequence[str], rows: Iterable[tuple[int, str, str]]
) -> list[list[NearRow]]:
    """Return the nearest rows of each query, the nearest first: often none.

    ``rows`` are lines, prompts and answers; both texts count. Only n-grams of the queries are kept,
    so that the time is one pass over the words of the rows, and the memory does not grow with them
    except for rows that have something in common with a query.
    """
    grams = [split_grams(query) for query in queries]
    wanted = frozenset[Gram]().union(*grams)
    if not wanted:
        return [[] for _ in queries]
    lengths = {len(gram) for gram in wanted}
    hits: list[tuple[int, str, frozenset[Gram]]] = []
    common: Counter[Gram] = Counter()
    count = 0
    for line, prompt, answer in rows:
        count += 1
        text = f"{prompt}\n{answer}"
        words = _WORD.findall(text.casefold())
        if shared := _find_shared(words, wanted, lengths):
            common.update(shared)
            hits.append((line, text.strip()[:MAX_TEXT], shared))
    limit = max(MIN_COMMON_ROWS, MAX_COMMON_SHARE * count)
    ignored = {gram for gram, number in common.items() if number > limit}
    return [_rank(query - ignored, hits) for query in grams]


def split_grams(text: str) -> frozenset[Gram]:
    """Return the word n-grams of a text; the whole text is one if it has fewer words."""
    words = _WORD.findall(text.casefold())
    if len(words) < WORDS:
        return frozenset([tuple(words)]) if words else frozenset()
    return frozenset(zip(*(words[start:] for start in range(WORDS)), strict=False))


def _find_shared(
    words: Sequence[str], wanted: frozenset[Gram], lengths: set[int]
) -> frozenset[Gram]:
    shared: frozenset[Gram] = frozenset()
    for length in lengths:
        grams = zip(*(words[start:] for start in range(length)), strict=False)
        shared |= wanted.intersection(grams)
    return shared


def _rank(
    query: frozenset[Gram], hits: Sequence[tuple[int, str, frozenset[Gram]]]
) -> list[NearRow]:
    """Return the rows that contain the largest share of a query's n-grams, the first ones first."""
    if not query:
        return []
    shares = ((len(query & shared) / len(query), -line, text) for line, text, shared in hits)
    near = (row for row in shares if row[0] >= MIN_SHARE)
    return [
        NearRow(line=-line, share=round(share, 3), text=text)
        for share, line, text in heapq.nlargest(MAX_NEAR, near)
    ]
