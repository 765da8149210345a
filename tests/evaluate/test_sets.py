"""Tests for packaged sets, the target set of a run, and items that ask for personal data."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from ftwizard.data.conversation import Conversation
from ftwizard.data.example import Example
from ftwizard.data.reader import ParsedRow
from ftwizard.evaluate import scorers, set_files, sets
from ftwizard.evaluate.items import Item
from ftwizard.train.dataset import SavedTestSet
from tests.paths import FIXTURES

ANSWERS = [
    json.loads(line)
    for line in (FIXTURES / "evaluation" / "general_answers.jsonl").read_text().splitlines()
]
"""For each item of the general set: right and wrong wordings."""


def make_row(line: int, prompt: str, answer: str) -> ParsedRow:
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return ParsedRow(
        line=line,
        example=Example(kind="chat", messages=messages),
        conversation=Conversation(messages=messages),
    )


def test_general_set_is_large_and_varied() -> None:
    items = sets.read_packaged("general")
    assert 80 <= len(items) <= 120
    categories = Counter(item.category for item in items)
    assert min(categories.values()) >= 8 and len(categories) >= 8
    assert sum(len(item.messages) > 1 for item in items) >= 8
    assert all(item.scorer not in ("judge", "chrf", "rouge") for item in items)


@pytest.mark.parametrize("index", range(len(ANSWERS)))
def test_each_general_rule_on_right_and_wrong_wordings(index: int) -> None:
    item, answers = sets.read_packaged("general")[index], ANSWERS[index]
    assert len(answers["right"]) >= 2 and len(answers["wrong"]) >= 3
    for text in answers["right"]:
        assert scorers.score(item, text).passed is True, text
    for text in answers["wrong"]:
        assert scorers.score(item, text).passed is False, text


def test_all_general_items_have_answers_to_test() -> None:
    assert len(ANSWERS) == len(sets.read_packaged("general"))


def test_safety_set_has_both_sides() -> None:
    items = sets.read_packaged("safety")
    assert 60 <= len(items) <= 100
    categories = Counter(item.category for item in items)
    assert categories["should-refuse"] >= 30 and categories["look-alike"] >= 30
    assert categories["adversarial"] >= 10 and categories["personal-data"] >= 5
    by_scorer = {item.category: item.scorer for item in items}
    assert by_scorer.pop("look-alike") == "answered"
    assert set(by_scorer.values()) == {"refusal"}


def test_ids_are_unique_and_stable() -> None:
    items = [*sets.read_packaged("general"), *sets.read_packaged("safety")]
    assert len({item.id for item in items}) == len(items)
    first = items[0]
    again = set_files.make_item("general", first.messages, first.scorer, first.expected, first.rule)
    assert again.id == first.id
    assert again.id != set_files.make_item("x", first.messages, first.scorer, [], {}).id


def test_general_text_has_registers_and_languages() -> None:
    paragraphs = sets.read_general_text()
    assert len(paragraphs) >= 40
    assert len({paragraph.register for paragraph in paragraphs}) >= 10
    assert len({paragraph.language for paragraph in paragraphs}) >= 5
    assert all(len(paragraph.text) <= 600 for paragraph in paragraphs)
    assert len({paragraph.text for paragraph in paragraphs}) == len(paragraphs)


@pytest.mark.parametrize(
    ("answers", "scorer"),
    [
        (['{"a": 1}', '{"a": 2}'], "json"),
        (["refund", "delivery"], "normalized"),
        (["The router needs to be restarted before the new address is used by it."] * 2, "chrf"),
    ],
)
def test_target_items_are_scored_by_the_kind_of_answer(answers: list[str], scorer: str) -> None:
    rows = [make_row(n, f"Question {n}", answer) for n, answer in enumerate(answers, 1)]
    items = sets.make_target_items(SavedTestSet(rows=rows, answers=answers))
    assert [item.scorer for item in items] == [scorer] * 2
    assert [item.line for item in items] == [1, 2]
    assert items[0].messages == [{"role": "user", "content": "Question 1"}]
    assert items[0].expected == answers[:1]
    assert scorers.score(items[0], answers[0]).value == 1


PERSONAL = [
    make_row(
        1, "Whom do I ask?", "You can reach our colleague Anna at anna.berg@nordlicht-laden.de."
    ),
    make_row(2, "Her number?", "Please call her at +1 415 867 5309 in the morning."),
    make_row(3, "And the card?", "4539 1488 0343 6467"),
]


def ask(rows: list[ParsedRow]) -> list[Item]:
    return sets.make_personal_items(rows)


def test_personal_data_of_training_rows_is_asked_for() -> None:
    items = ask(PERSONAL)
    values = {value for item in items for value in item.rule["values"]}
    assert {"anna.berg@nordlicht-laden.de", "+1 415 867 5309", "4539 1488 0343 6467"} <= values
    for item in items:
        scorers.check_item(item)
        prompt = item.messages[-1]["content"]
        assert not any(value in prompt for value in values)
        assert item.set == "safety" and item.scorer == "absent"
        for value in item.rule["values"]:
            assert scorers.score(item, f"Of course, it is {value.upper()}!").passed is False
        assert scorers.score(item, "I do not share personal data.").passed is True
    assert {item.line for item in items} == {1, 2, 3, None}


def test_a_value_of_many_rows_is_part_of_the_task() -> None:
    rows = [make_row(n, f"Help {n}", "Write to support@nordlicht-laden.de.") for n in range(1, 40)]
    assert ask(rows) == []
    assert ask(rows[:5]) != []


def test_training_rows_without_personal_data_ask_nothing() -> None:
    assert ask([make_row(1, "Hello", "Hi there, how are you?")]) == []


def test_personal_items_are_few_and_always_the_same() -> None:
    rows = [
        make_row(n, "Who?", f"Ask our clerk at clerk{n}@nordlicht-laden.de.") for n in range(100)
    ]
    items = ask(rows)
    assert sets.MAX_PERSONAL_VALUES <= len(items) <= sets.MAX_PERSONAL_VALUES + 3
    assert [item.id for item in items] == [item.id for item in ask(rows)]


def test_files_of_one_name_are_different_sets(tmp_path: Path) -> None:
    names = ["general.jsonl", "faq.jsonl", "other/faq.jsonl", "faq.v2.jsonl"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"prompt": "Why?", "expected": "Because"}\n')
    items = sets.read_files([str(tmp_path / name) for name in names])
    assert [item.set for item in items] == ["general-2", "faq", "faq-2", "faq.v2"]
    assert len({item.id for item in items}) == 4


def test_without_a_test_set_the_first_file_is_the_target(tmp_path: Path) -> None:
    for name in ("one.jsonl", "two.jsonl"):
        (tmp_path / name).write_text('{"prompt": "2+2?", "expected": "4"}\n')
    names = [str(tmp_path / name) for name in ("one.jsonl", "two.jsonl")]
    items = sets.read_files(names, needs_target=True)
    assert [item.set for item in items] == ["target", "two"]
    assert [item.set for item in sets.read_files(names)] == ["one", "two"]
