"""Items that repeat another of their set count once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftwizard.data import bundled_samples, reader
from ftwizard.data.conversation import Conversation
from ftwizard.data.example import Example
from ftwizard.data.reader import ParsedRow
from ftwizard.evaluate import frozen_items, sets
from ftwizard.evaluate.items import Item, ScorerName
from ftwizard.evaluate.repeated_items import drop_repeats, drop_trained
from ftwizard.evaluate.run.item_selection import collect_items
from ftwizard.evaluate.run.subject import EvaluationSubject, read_training_rows
from ftwizard.jobs.worker import Worker
from ftwizard.plan import plan_file
from ftwizard.rewards import answer_kinds
from ftwizard.train import dataset
from ftwizard.train.dataset import SavedTestSet
from tests.helpers import training
from tests.helpers.jobs import events

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


@pytest.mark.parametrize(
    ("question", "is_trained"),
    [
        ("What is 7 + 5? Answer with the number only.", True),
        (" what is  7 + 5 ", True),
        ("What is 7 - 5?", False),
        ("What is 7 + 5 + 1?", False),
        ("What is 7", False),
        ("", False),
    ],
)
def test_an_item_that_a_training_row_asks(question: str, is_trained: bool) -> None:
    item = make_item(1, "What is 7 + 5? Answer with the number only.", "12")
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": "12"}]
    example = Example(kind="chat", messages=messages)
    row = ParsedRow(line=1, example=example, conversation=Conversation(messages=messages))
    assert drop_trained([item], [row]) == ([] if is_trained else [item])


def test_general_rows_that_are_packaged_ask_no_general_item() -> None:
    items = sets.read_packaged("general")
    rows = reader.read_table(bundled_samples.resolve_rows("general")).rows
    assert rows and drop_trained(items, rows) == items


def test_rows_that_a_plan_mixes_in_are_no_general_items(tmp_path: Path) -> None:
    items = sets.read_packaged("general")
    answer = {"role": "assistant", "content": "Yes."}
    rows = [json.dumps({"messages": [*item.messages, answer]}) for item in items]
    (tmp_path / "mixed.jsonl").write_text("\n".join(rows))
    mix = {"rows": "mixed.jsonl", "share": 0.5}
    folder = training.prepare(
        tmp_path, "one", training=30, more={"data": {"mix": mix}, "evaluate": {"general": True}}
    )
    plan = plan_file.load(folder.plan, allow=["many-epochs"])
    subject = EvaluationSubject(folder, plan, None, SavedTestSet(rows=[]))
    with training.own_signals():
        worker = Worker(folder)
        general = collect_items(worker, subject)
        _, mixed = read_training_rows(worker, subject)
        worker.events.close()
    prompts = [row.conversation.prompt for row in mixed]
    assert len(prompts) == 30
    assert [item for item in items if item.messages not in prompts] == general
    [finding] = events(folder, "finding")
    assert finding["message"] == "Left out, as training rows ask the same: 30 of 113 (general)."


def test_a_test_row_without_an_answer_to_compare_is_named(tmp_path: Path) -> None:
    folder = training.prepare(tmp_path, "one")
    contents = ["#### 1", "#### 2", "#### 3", "no idea"]
    rows = []
    for line, content in enumerate(contents, 1):
        messages = [
            {"role": "user", "content": str(line)},
            {"role": "assistant", "content": content},
        ]
        example = Example(kind="chat", messages=messages)
        rows.append(
            ParsedRow(line=line, example=example, conversation=Conversation(messages=messages))
        )
    kind = answer_kinds.recognize(dataset.list_answered(rows), pattern="#### (.+)")
    test_set = SavedTestSet(rows=rows, kind=kind)
    plan = plan_file.load(folder.plan, allow=["many-epochs"])
    with training.own_signals():
        worker = Worker(folder)
        items = collect_items(worker, EvaluationSubject(folder, plan, None, test_set))
        worker.events.close()
    assert [item.line for item in items] == [1, 2, 3]
    [finding] = events(folder, "finding")
    assert "no answer that can be compared: line 4 (target)." in finding["message"]


@pytest.mark.parametrize("name", ["general", "safety"])
def test_packaged_sets_repeat_nothing(name: Any) -> None:
    items = sets.read_packaged(name)
    assert drop_repeats(items) == items


def test_a_draw_counts_each_question_once() -> None:
    items = [make_item(n, f"Question {n % 10}", "x") for n in range(30)]
    drawn, counts = frozen_items.draw(items, 20, seed=1)
    assert len(drawn) == 10 == len({item.messages[0]["content"] for item in drawn})
    assert (counts["mine"].available, counts["mine"].repeated) == (10, 20)
