"""Items that repeat another of their set count once."""

from __future__ import annotations

from typing import Any

import pytest

from ftwizard.evaluate import frozen_items, sets
from ftwizard.evaluate.items import Item, ScorerName
from ftwizard.evaluate.repeated_items import drop_repeats

LONG = (
    "A customer writes that the parcel with her new red bicycle helmet has not arrived although the "
    "tracking page says that it was delivered on Monday morning. What should the shop answer her?"
)


def make_item(
    number: int, prompt: Any, *expected: str, scorer: ScorerName = "normalized", **more: Any
) -> Item:
    messages = [{"role": "user", "content": prompt}]
    return Item(id=str(number), set="mine", messages=messages, scorer=scorer,
                expected=list(expected), **more)  # fmt: skip


CASES: list[tuple[str, Item, Item, bool]] = [
    ("case and spaces", make_item(1, "Say hi!", "Hi"), make_item(2, " say  HI!", "Hi"), True),
    ("another answer", make_item(1, "Say hi", "Hi"), make_item(2, "Say hi", "Hello"), True),
    ("another question", make_item(1, "2 + 3?", "5"), make_item(2, "2 - 3?", "5"), False),
    ("another rule", make_item(1, "Say hi", "Hi"), make_item(2, "Say hi", "Hi", scorer="exact"), False),
    ("another value", make_item(1, "Who?", scorer="absent", rule={"values": ["a@b.de"]}),
     make_item(2, "Who?", scorer="absent", rule={"values": ["c@d.de"]}), False),
    ("near, same answer", make_item(1, LONG, "refund"),
     make_item(2, LONG.replace("parcel", "package"), "Refund"), True),
    ("near, another answer", make_item(1, LONG, "refund"),
     make_item(2, LONG.replace("Monday", "Sunday"), "wait"), False),
    ("near, no answers", make_item(1, LONG, scorer="answered"),
     make_item(2, LONG.replace("parcel", "package"), scorer="answered"), True),
    ("near free text", make_item(1, LONG, "We are sorry and send a new one", scorer="chrf"),
     make_item(2, LONG.replace("parcel", "package"), "We are sorry and will send a new one", scorer="chrf"), True),
    ("one word is the question", make_item(1, "What is the code of the blue lamp?", "7"),
     make_item(2, "What is the code of the blue desk?", "7"), False),
    ("images", make_item(1, [{"type": "text", "text": "What is it?"}], "A"),
     make_item(2, [{"type": "text", "text": "What is it?"}], "B"), False),
]  # fmt: skip


@pytest.mark.parametrize(("name", "first", "second", "repeats"), CASES, ids=[c[0] for c in CASES])
def test_repeats(name: str, first: Item, second: Item, repeats: bool) -> None:
    assert drop_repeats([first, second]) == ([first] if repeats else [first, second])


def test_another_system_prompt_is_another_question() -> None:
    item = make_item(1, "Say hi", "Hi")
    system = [{"role": "system", "content": "You are a pirate."}, *item.messages]
    assert (
        len(drop_repeats([item, Item(id="2", set="mine", messages=system, scorer="normalized")]))
        == 2
    )


def test_a_template_does_not_make_its_questions_repeats() -> None:
    words = [
        "north",
        "south",
        "east",
        "west",
        "spring",
        "summer",
        "autumn",
        "winter",
        "river",
        "mountain",
        "valley",
        "island",
    ]
    items = [
        make_item(
            n, f"{LONG} The customer's own words: {' '.join(words[n:] + words[:n])} {word}.", "x"
        )
        for n, word in enumerate(words)
    ]
    assert len(drop_repeats(items)) == len(items)


@pytest.mark.parametrize("name", ["general", "safety"])
def test_packaged_sets_repeat_nothing(name: Any) -> None:
    items = sets.read_packaged(name)
    assert drop_repeats(items) == items


def test_a_draw_counts_each_question_once() -> None:
    items = [make_item(n, f"Question {n % 10}", "x") for n in range(30)]
    drawn, counts = frozen_items.draw(items, 20, seed=1)
    assert len(drawn) == 10 == len({item.messages[0]["content"] for item in drawn})
    assert (counts["mine"].available, counts["mine"].repeated) == (10, 20)
