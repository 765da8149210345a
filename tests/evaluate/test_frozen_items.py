"""Items drawn and frozen before the first step."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.evaluate import frozen_items
from ftwizard.evaluate.items import Item
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan.schema import Gate


def make_items(name: str, count: int, *categories: str) -> list[Item]:
    return [
        Item(
            id=f"{name}-{number}", set=name, messages=[{"role": "user", "content": str(number)}],
            scorer="exact", expected=["x"], category=(categories or ("",))[number % max(1, len(categories))],
        )
        for number in range(count)
    ]  # fmt: skip


ITEMS = [
    *make_items("target", 30),
    *make_items("safety", 80, "should-refuse", "look-alike", "look-alike", "look-alike"),
]


def test_draw_is_fair_to_categories_and_the_same_again() -> None:
    drawn, sets = frozen_items.draw(ITEMS, 20, seed=1)
    assert drawn == frozen_items.draw(reversed(ITEMS), 20, seed=1)[0]
    assert drawn != frozen_items.draw(ITEMS, 20, seed=2)[0]
    assert {name: (one.items, one.available) for name, one in sets.items()} == {
        "target": (20, 30), "safety": (20, 80),
    }  # fmt: skip
    safety = Counter(item.category for item in drawn if item.set == "safety")
    assert safety == {"should-refuse": 5, "look-alike": 15}
    larger = {item.id for item in frozen_items.draw(ITEMS, 25, seed=1)[0]}
    assert {item.id for item in drawn} < larger


def test_each_beginning_has_a_part_of_every_set() -> None:
    drawn, _ = frozen_items.draw(ITEMS, 100, seed=1)
    counts = Counter(item.set for item in drawn[:22])
    assert counts["target"] in (5, 6, 7) and counts["target"] + counts["safety"] == 22


def test_items_with_the_same_id_count_once() -> None:
    drawn, sets = frozen_items.draw([*ITEMS, *ITEMS[:5]], 100, seed=1)
    assert len(drawn) == len(ITEMS) and sets["target"].available == 30


def test_frozen_items_are_read_back_unless_they_were_changed(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    assert frozen_items.read(folder) is None
    drawn, sets = frozen_items.draw(ITEMS, 10, seed=1)
    record = frozen_items.freeze(folder, drawn, sets, Gate(gain=0.2))
    assert frozen_items.read(folder) == (drawn, record)
    assert record.gate.gain == 0.2
    path = folder.evaluations / "items.jsonl"
    path.write_text(path.read_text().replace('"x"', '"y"', 1))
    with pytest.raises(FtwizardError, match=r"items\.jsonl was changed since the run froze it"):
        frozen_items.read(folder)
