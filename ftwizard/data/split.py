"""Rows set aside for validation and for the comparison, drawn by a seed."""

from __future__ import annotations

import itertools
import random
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Literal

import msgspec

from ftwizard.data.example import Example
from ftwizard.data.read import Row
from ftwizard.data.together import GroupBy
from ftwizard.errors import FtwizardError
from ftwizard.text import plural

if TYPE_CHECKING:
    from ftwizard.data.grouping import Group

MIN_TRAIN_ROWS = 2
Part = Literal["train", "validation", "test"]


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Three disjoint parts; rows of one prompt (of one text, where there is none) are all in one."""

    train: list[Row]
    validation: list[Row]
    test: list[Row]


class Division(msgspec.Struct, frozen=True, kw_only=True):
    """Which part each row is in."""

    parts: list[Part]
    """In the order of the rows."""
    groups: int
    """How many groups of rows stay together, those of one row included."""
    largest: int
    """Rows of the largest group."""
    kinds: dict[str, dict[Part, int]]
    """For each kind of row how many are in each part."""


def split(
    rows: list[Row],
    *,
    validation: float,
    test: float,
    seed: int,
    group_by: GroupBy = "prompts",
) -> Parts:
    """Divide ``rows``; shares are of all rows, at least one row where a share is above 0.

    ``near-copies``: as ``divide`` does; ``prompts``: rows of the very same prompt stay together. Each
    part keeps the file's order. Raises FtwizardError when too little is left to train on.
    """
    if group_by == "prompts":
        parts, groups = _by_prompts(rows, _wanted(len(rows), validation, test), seed)
    else:
        found = divide([row.example for row in rows], validation=validation, test=test, seed=seed)
        parts, groups = found.parts, found.groups
    if parts.count("train") < MIN_TRAIN_ROWS:
        raise FtwizardError(
            f"{plural(len(rows), 'row')} in {plural(groups, 'different prompt')} leave too "
            "few to train on once validation and held-out rows are set aside.",
            "Add rows, name a file for data.files.validation and data.files.test, or lower "
            "data.split.",
        )
    of: dict[Part, list[Row]] = {"train": [], "validation": [], "test": []}
    for row, part in zip(rows, parts, strict=True):
        of[part].append(row)
    return Parts(train=of["train"], validation=of["validation"], test=of["test"])


def divide(examples: list[Example], *, validation: float, test: float = 0.0, seed: int) -> Division:
    """Divide rows so that those of one prompt and near copies stay on one side, and each kind of
    row is in every part in its share.

    What is drawn depends on what rows say and on the seed: neither the order of the file nor the
    machine or the version of Python changes it.
    """
    from ftwizard.data import grouping

    left = groups = grouping.groups(examples, seed)
    parts: list[Part] = ["train"] * len(examples)
    for part, count in _wanted(len(examples), validation, test).items():
        taken, left = _draw(left, count)
        for place in itertools.chain.from_iterable(group.indexes for group in taken):
            parts[place] = part
    tally = Counter((group.kind, parts[place]) for group in groups for place in group.indexes)
    kinds: dict[str, dict[Part, int]] = {group.kind: {} for group in groups}
    for (kind, part), count in sorted(tally.items()):
        kinds[kind][part] = count
    sizes = [len(group.indexes) for group in groups]
    return Division(parts=parts, groups=len(sizes), largest=max(sizes, default=0), kinds=kinds)


def _wanted(rows: int, validation: float, test: float) -> dict[Part, int]:
    """Return how many rows each part is to have, in the order in which they are drawn."""
    shares: dict[Part, float] = {"test": test, "validation": validation}
    return {part: max(1, round(share * rows)) for part, share in shares.items() if share > 0}


def _draw(groups: list[Group], wanted: int) -> tuple[list[Group], list[Group]]:
    """Return about ``wanted`` rows in groups, of each kind its share, and the groups left over.

    What a kind falls short of or has too much of, the next makes up for. A group that is too large
    is left over.
    """
    taken: list[Group] = []
    left: list[Group] = []
    total = sum(len(group.indexes) for group in groups)
    seen = got = 0
    for _, of_kind in itertools.groupby(groups, key=lambda group: group.kind):
        members = list(of_kind)
        seen += sum(len(group.indexes) for group in members)
        for group in members:
            fits = got + len(group.indexes) <= round(wanted * seen / total)
            (taken if fits else left).append(group)
            got += len(group.indexes) if fits else 0
    for group in sorted(left, key=lambda group: group.rank):
        if got + len(group.indexes) <= wanted:
            taken.append(group)
            got += len(group.indexes)
    if not taken and groups:
        taken = [min(groups, key=lambda group: (len(group.indexes), group.rank))]
    chosen = {id(group) for group in taken}
    return taken, [group for group in groups if id(group) not in chosen]


def _by_prompts(rows: list[Row], wanted: dict[Part, int], seed: int) -> tuple[list[Part], int]:
    """Return the part of each row, and how many prompts there are."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        whole = (row.example.text, row.example.tokens)
        groups[msgspec.json.encode(row.conversation.prompt or whole)].append(index)
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    parts: list[Part] = ["train"] * len(rows)
    for part, count in wanted.items():
        for index in _take(order, count):
            parts[index] = part
    return parts, len(groups)


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
