"""Random splits of rows into training, validation and test sets."""

from __future__ import annotations

import itertools
import random
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Literal

import msgspec

from ftwizard.data.example import Example
from ftwizard.data.reader import ParsedRow
from ftwizard.errors import FtwizardError
from ftwizard.text import format_count

if TYPE_CHECKING:
    from ftwizard.data.grouping import Group


GroupBy = Literal["near-copies", "prompts"]
"""Rows with the same prompt and near-duplicates, or only rows with exactly the same prompt."""


MIN_TRAIN_ROWS = 2
SplitPart = Literal["train", "validation", "test"]


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Three disjoint parts; rows with the same prompt, or text, are all in one part."""

    train: list[ParsedRow]
    validation: list[ParsedRow]
    test: list[ParsedRow]


class Division(msgspec.Struct, frozen=True, kw_only=True):
    """The part of each row."""

    parts: list[SplitPart]
    """One entry per row, in order."""
    groups: int
    """Number of groups of rows that stay together, including single rows."""
    largest: int
    """Rows of the largest group."""
    kinds: dict[str, dict[SplitPart, int]]
    """Number of rows in each part, for each kind of row."""


def split(
    rows: list[ParsedRow],
    *,
    validation: float,
    test: float,
    seed: int,
    group_by: GroupBy = "prompts",
) -> Parts:
    """Split ``rows``; shares are of all rows, and a share above 0 gives at least one row.

    ``near-copies``: as in ``divide``; ``prompts``: rows with exactly the same prompt stay together.
    Each part keeps the order of the file. Raises FtwizardError if too few rows are left to train on.
    """
    if group_by == "prompts":
        parts, groups = _split_by_prompt(rows, _count_rows(len(rows), validation, test), seed)
    else:
        division = divide(
            [row.example for row in rows], validation=validation, test=test, seed=seed
        )
        parts, groups = division.parts, division.groups
    if parts.count("train") < MIN_TRAIN_ROWS:
        raise FtwizardError(
            f"Too few rows to train on are left after validation and test rows are set aside: "
            f"{format_count(len(rows), 'row')}, {format_count(groups, 'different prompt')}.",
            "Add rows to the data file, or name files of their own for validation and test "
            "(data.files).",
        )
    by_part: dict[SplitPart, list[ParsedRow]] = {"train": [], "validation": [], "test": []}
    for row, part in zip(rows, parts, strict=True):
        by_part[part].append(row)
    return Parts(train=by_part["train"], validation=by_part["validation"], test=by_part["test"])


def divide(examples: list[Example], *, validation: float, test: float = 0.0, seed: int) -> Division:
    """Split rows by group, stratified by kind.

    Rows with the same prompt and near-duplicates stay together. The result depends only on the
    contents of rows and the seed, not on file order, machine or Python version.
    """
    from ftwizard.data import grouping

    rest = groups = grouping.groups(examples, seed)
    parts: list[SplitPart] = ["train"] * len(examples)
    for part, count in _count_rows(len(examples), validation, test).items():
        taken, rest = _draw(rest, count)
        for index in itertools.chain.from_iterable(group.indexes for group in taken):
            parts[index] = part
    tally = Counter((group.kind, parts[index]) for group in groups for index in group.indexes)
    kinds: dict[str, dict[SplitPart, int]] = {group.kind: {} for group in groups}
    for (kind, part), count in sorted(tally.items()):
        kinds[kind][part] = count
    sizes = [len(group.indexes) for group in groups]
    return Division(parts=parts, groups=len(sizes), largest=max(sizes, default=0), kinds=kinds)


def _count_rows(rows: int, validation: float, test: float) -> dict[SplitPart, int]:
    """Return the number of rows for each part, in the order in which they are drawn."""
    shares: dict[SplitPart, float] = {"test": test, "validation": validation}
    return {part: max(1, round(share * rows)) for part, share in shares.items() if share > 0}


def _draw(groups: list[Group], count: int) -> tuple[list[Group], list[Group]]:
    """Draw groups with about ``count`` rows, stratified by kind; return them and the rest.

    The next kind makes up for a surplus or deficit of the previous one. Groups that are too large
    are not drawn.
    """
    taken: list[Group] = []
    rest: list[Group] = []
    total = sum(len(group.indexes) for group in groups)
    rows_so_far = taken_rows = 0
    for _, members_of_kind in itertools.groupby(groups, key=lambda group: group.kind):
        members = list(members_of_kind)
        rows_so_far += sum(len(group.indexes) for group in members)
        for group in members:
            fits = taken_rows + len(group.indexes) <= round(count * rows_so_far / total)
            (taken if fits else rest).append(group)
            taken_rows += len(group.indexes) if fits else 0
    for group in sorted(rest, key=lambda group: group.rank):
        if taken_rows + len(group.indexes) <= count:
            taken.append(group)
            taken_rows += len(group.indexes)
    if not taken and groups:
        taken = [min(groups, key=lambda group: (len(group.indexes), group.rank))]
    chosen = {id(group) for group in taken}
    return taken, [group for group in groups if id(group) not in chosen]


def _split_by_prompt(
    rows: list[ParsedRow], counts: dict[SplitPart, int], seed: int
) -> tuple[list[SplitPart], int]:
    """Return the part of each row, and the number of distinct prompts."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        content = (row.example.text, row.example.tokens, row.example.messages)
        groups[msgspec.json.encode(row.conversation.prompt or content)].append(index)
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    parts: list[SplitPart] = ["train"] * len(rows)
    for part, count in counts.items():
        for index in _take_rows(order, count):
            parts[index] = part
    return parts, len(groups)


def _take_rows(order: list[list[int]], count: int) -> set[int]:
    """Take about ``count`` rows out of ``order``; groups that are too large stay for training."""
    taken: set[int] = set()
    for group in list(order):
        if len(taken) + len(group) <= count:
            taken.update(group)
            order.remove(group)
    if not taken and order:
        smallest = min(order, key=len)
        taken.update(smallest)
        order.remove(smallest)
    return taken
