"""Rows set aside for validation and for the comparison, drawn by a seed."""

from __future__ import annotations

import random
from collections import defaultdict

import msgspec

from ftwizard.data.read import Row
from ftwizard.errors import FtwizardError
from ftwizard.text import plural

MIN_TRAIN_ROWS = 2


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Three disjoint parts; rows of one prompt are all in one of them."""

    train: list[Row]
    validation: list[Row]
    heldout: list[Row]


def split(rows: list[Row], *, validation: float, heldout: float, seed: int) -> Parts:
    """Divide ``rows``; shares are of all rows, at least one row where a share is above 0.

    Each part keeps the file's order. Raises FtwizardError when too little is left to train on.
    """
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups[_prompt_key(row)].append(index)
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    taken: dict[str, set[int]] = {"heldout": set(), "validation": set()}
    for part, share in (("heldout", heldout), ("validation", validation)):
        if share > 0:
            taken[part] = _take(order, max(1, round(share * len(rows))))
    left = {index for group in order for index in group}
    if len(left) < MIN_TRAIN_ROWS:
        raise FtwizardError(
            f"{plural(len(rows), 'row')} in {plural(len(groups), 'different prompt')} leave too "
            "few to train on once validation and held-out rows are set aside.",
            "Add rows, name a file for data.files.validation and data.files.heldout, or lower "
            "data.split.",
        )
    return Parts(
        train=[row for index, row in enumerate(rows) if index in left],
        validation=[row for index, row in enumerate(rows) if index in taken["validation"]],
        heldout=[row for index, row in enumerate(rows) if index in taken["heldout"]],
    )


def _take(order: list[list[int]], wanted: int) -> set[int]:
    """Move about ``wanted`` rows out of ``order``; a group that is too large stays for training."""
    taken: set[int] = set()
    for group in list(order):
        if len(taken) + len(group) <= wanted:
            taken.update(group)
            order.remove(group)
    if not taken and order:
        smallest = min(order, key=len)
        taken.update(smallest)
        order.remove(smallest)
    return taken


def _prompt_key(row: Row) -> bytes:
    return msgspec.json.encode(row.conversation.prompt)
