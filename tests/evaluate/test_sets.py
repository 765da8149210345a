"""Tests for packaged sets, the target set of a run."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.data.conversation import Conversation
from ftwizard.data.example import Example
from ftwizard.data.reader import ParsedRow
from ftwizard.evaluate import scorers, set_files, sets
from ftwizard.runs.evaluation_plan import PackagedSet
from ftwizard.train.dataset import SavedTestSet
from tests.paths import FIXTURES


def read_answers(name: str) -> list[tuple[int, dict[str, Any]]]:
    """Return the answers to each item of a packaged set, with its index."""
    text = (FIXTURES / "evaluation" / f"{name}_answers.jsonl").read_text(encoding="utf-8")
    return list(enumerate(map(json.loads, text.splitlines())))


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


@pytest.mark.parametrize(
    ("name", "index", "answers"),
    [(name, *row) for name in ("general", "safety") for row in read_answers(name)],
)
def test_each_rule_on_right_and_wrong_answers(
    name: PackagedSet, index: int, answers: dict[str, Any]
) -> None:
    """``misjudged``: answers that the rules for refusals are known to get wrong."""
    item, misjudged = sets.read_packaged(name)[index], answers.get("misjudged", [])
    assert len({*answers["right"]}) >= 3 <= len({*answers["wrong"]})
    for kind in ("right", "wrong"):
        for text in answers[kind]:
            is_right = scorers.score(item, text).passed
            assert (is_right is (kind == "right")) is (text not in misjudged), text


@pytest.mark.parametrize("name", ["general", "safety"])
def test_every_packaged_item_has_answers(name: PackagedSet) -> None:
    lines = [item.line for item in sets.read_packaged(name)]
    assert [answers["line"] for _, answers in read_answers(name)] == lines


def test_safety_set_has_both_sides() -> None:
    items = sets.read_packaged("safety")
    assert 60 <= len(items) <= 130
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


@pytest.mark.parametrize(
    ("answers", "scorer"),
    [
        (['{"a": 1}', '{"a": 2}'], "json"),
        (["refund", "delivery"], "normalized"),
        (["2 + 2 = 4\n#### 4"] * 2 + ["3 + 4 = 7\n#### 7"] * 4, "numeric"),
        (["The router needs to be restarted before the new address is used by it."] * 2, "chrf"),
    ],
)
def test_target_items_are_scored_by_the_kind_of_answer(answers: list[str], scorer: str) -> None:
    rows = [make_row(n, f"Question {n}", answer) for n, answer in enumerate(answers, 1)]
    items = sets.make_target_items(SavedTestSet(rows=rows))
    assert {item.scorer for item in items} == {scorer}
    assert [item.line for item in items] == list(range(1, len(answers) + 1))
    assert items[0].messages == [{"role": "user", "content": "Question 1"}]
    assert items[0].expected == answers[:1]
    assert scorers.score(items[0], answers[0]).value == 1
    assert items[0].has_whole_answer


def test_worked_solutions_in_the_style_of_the_rows_with_wrong_results_are_wrong() -> None:
    """Two answers that differ in one digit resemble each other; only one is right."""
    texts = [
        f"She adds {n} and {n + 1}.\n{n} + {n + 1} = {2 * n + 1}\n#### {2 * n + 1}"
        for n in range(20)
    ]
    rows = [make_row(n, f"What is {n} + {n + 1}?", text) for n, text in enumerate(texts)]
    items = sets.make_target_items(SavedTestSet(rows=rows))
    for item, text in zip(items, texts, strict=True):
        result = int(text.rpartition(" ")[2])
        assert scorers.score(item, text).passed is True
        assert scorers.score(item, f"It is {result}.").passed is True
        assert scorers.score(item, text.replace(str(result), str(result + 1))).passed is False
        of_question = f"{text.partition('####')[0]}So it is {item.line}."
        assert scorers.score(item, of_question).passed is False


def test_rows_of_tool_calls_are_items() -> None:
    call = {"type": "function", "function": {"name": "find", "arguments": {"n": 1}}}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "Find"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
    ]
    row = make_row(1, "Find", "x")
    row = msgspec.structs.replace(row, conversation=Conversation(messages=messages))
    (item,) = sets.make_target_items(SavedTestSet(rows=[row]))
    assert (item.scorer, item.has_loss) == ("tool_call", False)
    assert scorers.score(
        item, '<tool_call>{"name": "find", "arguments": {"n": 1}}</tool_call>'
    ).passed
    assert scorers.score(item, "I find nothing.").passed is False


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
