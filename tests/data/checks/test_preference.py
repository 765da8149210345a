"""Preference checks: pairs, labels, prompt echoes, and findings over all rows."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.data.checks import preference
from ftwizard.data.checks.aggregate import (
    FILE_FAMILIES,
    IgnoredLabel,
    ImageMix,
    LabelBalance,
    LengthBias,
    SystemMix,
)
from ftwizard.data.example import Example
from ftwizard.data.findings import FileFinding
from ftwizard.data.platforms import get_target

ASKED = "What would you answer to a question of more than forty letters?"
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def make_message(text: Any, role: str = "assistant") -> dict[str, Any]:
    return {"role": role, "content": text}


def pair(chosen: Any, rejected: Any, asked: str = ASKED) -> Example:
    sides = [[make_message(item)] if isinstance(item, str) else item for item in (chosen, rejected)]
    return Example(
        kind="preference",
        messages=[make_message(asked, "user")],
        chosen=sides[0],
        rejected=sides[1],
    )


def codes(row: Example, to: str = "openai-dpo") -> list[str]:
    return [result.code for result in preference.check(row, get_target(to))]


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        ("Good.", "Bad.", []),
        ("Yes", "No", []),
        ("Good.", "Good.", ["identical_pair"]),
        ("Good. ", " Good.\n", ["identical_pair"]),
        ("Good.", "good", ["similar_pair"]),
        ("one  two three", "one two three", ["similar_pair"]),
        ("", "Bad.", ["empty_chosen"]),
        ("Good.", " \u200b", ["empty_rejected"]),
        ([], "Bad.", ["empty_chosen"]),
        ("", "", ["empty_chosen", "empty_rejected", "identical_pair"]),
        ([make_message("a"), make_message("b")], "Bad.", ["one_answer"]),
        ("Good.", [make_message("x", "user")], ["one_answer"]),
        (ASKED + " I would.", "No.", ["prompt_echoed"]),
    ],
)
def test_problems_of_a_pair_are_reported(chosen: Any, rejected: Any, expected: list[str]) -> None:
    assert codes(pair(chosen, rejected)) == expected


def test_multi_message_answers_depend_on_the_target() -> None:
    row = pair([make_message("a"), make_message("b")], "Bad.")
    assert codes(row, "trl-dpo") == codes(row, "foundry-dpo") == []
    assert codes(row, "together-dpo") == ["one_answer"]


def test_identical_pair_check_compares_tool_calls() -> None:
    calls: list[Any] = [
        [{**make_message(None), "tool_calls": [{"id": "a", "function": {"name": name}}]}]
        for name in "fg"
    ]
    assert codes(pair(calls[0], calls[1])) == []
    assert codes(pair(calls[0], calls[0])) == ["identical_pair"]


def test_answer_that_repeats_the_prompt_is_reported() -> None:
    def codes_of(asked: str, answer: str) -> list[str]:
        return codes(
            Example(kind="chat", messages=[make_message(asked, "user"), make_message(answer)]),
            "trl-sft",
        )

    assert codes_of(ASKED, ASKED + "\nSo.") == ["prompt_echoed"]
    assert codes_of(ASKED + "\n", "  " + ASKED) == ["prompt_echoed"]
    assert codes_of(ASKED, "You ask: " + ASKED) == []
    assert codes_of("The sky", "The sky is blue.") == []
    assert codes_of(ASKED, ASKED[:-1] + "!") == []


def find(whole: Any, rows: list[Example], to: str = "trl-dpo") -> list[FileFinding]:
    for line, row in enumerate(rows, 1):
        whole.add(line, row)
    return list(whole.findings(get_target(to), len(rows)))


def test_length_bias_between_answers_is_reported() -> None:
    longer = [pair("x" * (50 + n % 9), "y" * (20 + n % 7)) for n in range(40)]
    (item,) = find(LengthBias(), longer)
    assert item.code == "length_bias" and item.count == 40 and item.lines == list(range(1, 41))
    assert "the chosen answer is longer in 40 of 40 pairs" in item.message
    assert "54 characters chosen, 23 rejected" in item.message
    shorter = [pair("x" * (20 + n % 7), "y" * (50 + n % 9)) for n in range(40)]
    assert "the rejected answer is longer" in find(LengthBias(), shorter)[0].message
    assert find(LengthBias(), longer[:29]) == []
    even = [pair("x" * (50 + n % 9), "y" * (50 + (n * 7) % 9)) for n in range(90)]
    assert find(LengthBias(), even) == []
    assert find(LengthBias(), [pair("same", "size")] * 40) == []


def test_length_bias_of_a_small_but_steady_difference_is_reported_with_its_interval() -> None:
    """The means barely differ, but “the longer answer wins” is nearly always right."""
    varied = [20 + 7 * (n % 40) for n in range(80)]
    steady = [
        pair("x" * (size + 3), "y" * size) if n % 10 else pair("x" * size, "y" * (size + 3))
        for n, size in enumerate(varied)
    ]
    (item,) = find(LengthBias(), steady)
    assert item.code == "length_bias" and item.count == 72
    assert "Cohen's d +0.0" in item.message
    assert "length alone tells 90% (81–95%) apart" in item.message
    usual = [
        pair("x" * (size + 3), "y" * size) if n % 10 < 6 else pair("x" * size, "y" * (size + 3))
        for n, size in enumerate(varied)
    ]
    assert find(LengthBias(), usual) == []


def labelled(wanted: int, unwanted: int) -> list[Example]:
    labels = [True] * wanted + [False] * unwanted
    return [Example(kind="labelled", messages=[make_message("a")], label=label) for label in labels]


@pytest.mark.parametrize(
    ("wanted", "unwanted", "code"),
    [
        (10, 10, None),
        (57, 43, None),
        (60, 40, None),
        (40, 60, None),
        (61, 39, "label_imbalance"),
        (39, 61, "label_imbalance"),
        (90, 10, "label_imbalance"),
        (3, 1, None),
        (20, 0, "label_one_sided"),
        (0, 1, "label_one_sided"),
    ],
)
def test_label_imbalance_is_reported(wanted: int, unwanted: int, code: str | None) -> None:
    recorded = find(LabelBalance(), labelled(wanted, unwanted), "trl-kto")
    assert [item.code for item in recorded] == ([] if code is None else [code])
    # TRL trains on labels of one kind, too.
    assert code is None or get_target("trl-kto").severity(code) == "warning"


def test_label_imbalance_fix_suggests_a_weight_range() -> None:
    (item,) = find(LabelBalance(), labelled(80, 20), "trl-kto")
    assert item.count == 20 and item.lines == list(range(81, 101))
    assert item.fix.startswith("set undesirable_weight between 3.01 and 4.00")
    (item,) = find(LabelBalance(), labelled(20, 80), "trl-kto")
    assert item.fix.startswith("set desirable_weight between 4.00 and 5.32")


@pytest.mark.parametrize(
    ("labels", "lines"),
    [
        ([1, 0, 1, 0], [2, 4]),
        ([1.0, 0.0], [2]),
        (["True", "false"], [2]),
        (["1", "0"], [2]),
        ([None, False], [2]),
        ([1, 1], []),
        ([None, None], []),
        ([0, 1, 2], []),
        ([0, -1, 1], []),
        (["0", "spam"], []),
        ([0, [1]], []),
    ],
)
def test_ignored_labels_that_mark_bad_answers_are_reported(
    labels: list[Any], lines: list[int]
) -> None:
    text = [make_message("q", "user"), make_message("a")]
    rows = [Example(kind="chat", messages=text, extra={"label": label}) for label in labels]
    recorded = find(IgnoredLabel(), rows, "trl-sft")
    assert [(item.code, item.lines) for item in recorded] == (
        [("label_ignored", lines)] if lines else []
    )
    assert get_target("trl-sft").severity("label_ignored") == "warning"
    rows = [Example(kind="prompt", messages=text[:1], extra={"label": label}) for label in labels]
    assert find(IgnoredLabel(), rows, "openai-rft") == []


def test_images_in_some_rows_are_reported_for_together() -> None:
    with_one = Example(kind="chat", messages=[make_message([IMAGE], "user"), make_message("a")])
    without = Example(kind="chat", messages=[make_message("q", "user"), make_message("a")])
    rows = [without, with_one, without]
    (item,) = find(ImageMix(), rows, "together-sft")
    assert (item.code, item.count, item.lines) == ("image_mixed", 1, [2])
    assert find(ImageMix(), rows, "openai-sft") == []
    assert find(ImageMix(), [with_one] * 3, "together-sft") == []
    mixed = ImageMix()
    mixed.add(1, with_one)
    mixed.add_plain(2, [False, True])
    assert [finding.count for finding in mixed.findings(get_target("together-sft"), 3)] == [1]


def test_rows_without_the_usual_system_prompt_are_reported() -> None:
    without = Example(kind="chat", messages=[make_message("q", "user"), make_message("a")])
    with_one = Example(kind="chat", messages=[make_message("s", "system"), *without.messages])
    (item,) = find(SystemMix(), [with_one, without, with_one], "trl-sft")
    assert (item.code, item.count, item.lines) == ("mixed_system", 1, [2])
    assert item.message == "1 of 3 rows has no system prompt, the others do"
    assert find(SystemMix(), [with_one] * 3, "trl-sft") == []
    assert find(SystemMix(), [without] * 3, "trl-sft") == []
    mixed = SystemMix()
    mixed.add(1, without)
    mixed.add_plain(2, [False, True, False])
    assert [
        (finding.count, finding.lines) for finding in mixed.findings(get_target("trl-sft"), 4)
    ] == [(1, [3])]


ROWS = st.lists(
    st.sampled_from([
        pair("x" * 60, "y"), pair("x", "y" * 9), *labelled(1, 1), labelled(1, 0)[0],
        Example(kind="chat", messages=[make_message("a")], extra={"label": 0}),
    ]),
    max_size=80,
)  # fmt: skip


@given(ROWS, st.integers(0, 80))
def test_merged_parts_give_the_findings_of_the_whole_file(rows: list[Example], cut: int) -> None:
    cut = min(cut, len(rows))
    for make in FILE_FAMILIES:
        parts: list[Any] = [make(), make()]
        for line, row in enumerate(rows[:cut], 1):
            parts[0].add(line, row)
        for line, row in enumerate(rows[cut:], 1):
            parts[1].add(line, row)
        parts = pickle.loads(pickle.dumps(parts))
        parts[0].extend(parts[1], cut)
        merged = list(parts[0].findings(get_target("trl-dpo"), len(rows)))
        assert merged == find(make(), rows)
