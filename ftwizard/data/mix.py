"""General examples mixed in among the rows that are trained on."""

from __future__ import annotations

from ftwizard.data import grouping, said
from ftwizard.data.duplicates import NearIndex
from ftwizard.data.read import Row
from ftwizard.text import plural


def wanted(train: int, share: float) -> int:
    """Return how many rows make up ``share`` of all once they join ``train`` rows; 1 at least."""
    return max(1, round(train * share / (1 - share))) if share else 0


def draw(
    general: list[Row], share: float, train: list[Row], apart: list[Row], seed: int
) -> list[Row]:
    """Return the rows of ``general`` to train on besides ``train``, in the order of their file.

    Fewer than ``wanted`` where there are no more: each is taken once at most, for repeated they
    would be learnt by heart. None is taken whose prompt stands in ``train`` or ``apart`` (the rows
    that validate or are compared on), or is nearly the same as one of ``apart``.
    """
    need = wanted(len(train), share)
    known = {grouping.prompt_key(row.example) for row in (*train, *apart)}
    free: dict[bytes, Row] = {}
    for row in general:
        key = grouping.prompt_key(row.example)
        if key not in known:
            free.setdefault(key, row)
    order = [free[key] for key in sorted(free, key=lambda key: grouping.rank(key, seed))]
    index = NearIndex(lambda place: said.prompt(apart[place].example))
    for place, row in enumerate(apart):
        index.add(place, said.prompt(row.example))
    found: list[Row] = []
    while order and len(found) < need:
        some, order = order[: need - len(found)], order[need - len(found) :]
        asked = ((place, said.prompt(row.example)) for place, row in enumerate(some))
        near = {place for place, _ in index.nearest(asked)}
        found += [row for place, row in enumerate(some) if place not in near]
    return sorted(found, key=lambda row: row.line)


def shortage(mixed: int, train: int, share: float) -> str | None:
    """Say that ``mixed`` rows are fewer than the share asks for; None if they are not."""
    need = wanted(train, share)
    if mixed >= need:
        return None
    of_all = f"{mixed / (train + mixed):.1%}" if mixed else "none"
    return (
        f"{share:.0%} of general rows would be {need:,} beside {plural(train, 'row')}; "
        f"data.mix.rows has {mixed:,} that can be mixed in, so it is {of_all}: each is taken once."
    )
