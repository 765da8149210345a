"""General examples mixed into the training rows."""

from __future__ import annotations

from ftwizard.data import grouping
from ftwizard.data.dedup import canonical_text
from ftwizard.data.dedup.near_duplicates import NearIndex
from ftwizard.data.reader import ParsedRow
from ftwizard.text import format_count


def count_needed(train: int, share: float) -> int:
    """Return how many rows are ``share`` of the total after joining ``train`` rows; at least 1."""
    return max(1, round(train * share / (1 - share))) if share else 0


def draw_rows(
    general: list[ParsedRow],
    share: float,
    train: list[ParsedRow],
    apart: list[ParsedRow],
    seed: int,
) -> list[ParsedRow]:
    """Draw rows of ``general`` to train on next to ``train``; return them in file order.

    There may be fewer than ``count_needed``, because each row is used once: repeated rows would be
    memorized. Rows are skipped if their prompt is in ``train`` or ``apart`` (validation and test
    rows), or is a near-duplicate of one in ``apart``.
    """
    count = count_needed(len(train), share)
    excluded = {grouping.prompt_key(row.example) for row in (*train, *apart)}
    available: dict[bytes, ParsedRow] = {}
    for row in general:
        key = grouping.prompt_key(row.example)
        if key not in excluded:
            available.setdefault(key, row)
    order = [available[key] for key in sorted(available, key=lambda key: grouping.rank(key, seed))]
    index = NearIndex(lambda number: canonical_text.prompt_text(apart[number].example))
    for number, row in enumerate(apart):
        index.add(number, canonical_text.prompt_text(row.example))
    drawn: list[ParsedRow] = []
    while order and len(drawn) < count:
        batch, order = order[: count - len(drawn)], order[count - len(drawn) :]
        prompts = (
            (number, canonical_text.prompt_text(row.example)) for number, row in enumerate(batch)
        )
        duplicates = {number for number, _ in index.nearest(prompts)}
        drawn += [row for number, row in enumerate(batch) if number not in duplicates]
    return sorted(drawn, key=lambda row: row.line)


def describe_shortage(mixed: int, train: int, share: float) -> str | None:
    """Return a message if ``mixed`` rows are fewer than the share requires, else None."""
    count = count_needed(train, share)
    if mixed >= count:
        return None
    actual = f"{mixed / (train + mixed):.1%}" if mixed else "none"
    return (
        f"{share:.0%} general rows next to {format_count(train, 'row')} would be {count:,}, but "
        f"data.mix.rows has only {format_count(mixed, 'usable row')} ({actual}). Each row is used once."
    )
