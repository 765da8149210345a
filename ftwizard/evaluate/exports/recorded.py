"""What the files of an evaluation are made from: items, models and their answers, by set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.items import Item
from ftwizard.runs.evaluation import ItemAnswer


class RecordedSet(NamedTuple):
    """The answers of one model to one set."""

    name: str
    arm: Arm
    pairs: list[tuple[Item, ItemAnswer]]


class Recorded(NamedTuple):
    """All answers of an evaluation."""

    items: Sequence[Item]
    arms: Sequence[Arm]
    answers: Mapping[str, Sequence[ItemAnswer]]
    """By the name of the arm."""
    created: datetime
    """With a time zone."""

    def sets(self) -> Iterator[RecordedSet]:
        """Yield each set of each arm that has answers, with the items in their order."""
        for arm in self.arms:
            lines = {answer.item: answer for answer in self.answers.get(arm.name, ())}
            by_set: dict[str, list[tuple[Item, ItemAnswer]]] = {}
            for item in {item.id: item for item in self.items}.values():
                if answer := lines.get(item.id):
                    by_set.setdefault(item.set, []).append((item, answer))
            for name, pairs in by_set.items():
                yield RecordedSet(name, arm, pairs)


def to_file_name(name: str) -> str:
    """Return a name of a set or an arm for a file, as lm-eval writes that of a task."""
    return re.sub(r"\W", "_", name)[:60] or "_"
