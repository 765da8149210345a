"""Tests for the scorers: right and wrong wordings, bad rules, and any text."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.data.example import RowProblem
from ftwizard.evaluate import scorers
from ftwizard.evaluate.items import Item, ScorerName

CHOICES = {"choices": ["Rome", "Paris", "New York", "York"]}
ENDLESS = "^(?:(?:a|aa)+)+[0-9]$"
SCHEMA = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}


def make_item(scorer: ScorerName, *expected: str, **rule: Any) -> Item:
    return Item(id="1", set="s", messages=[], scorer=scorer, expected=list(expected), rule=rule)


CALL = '{"name": "find", "arguments": {"n": 1}}'
RIGHT: list[tuple[Item, list[str]]] = [
    (make_item("exact", "Yes"), ["Yes", " Yes\n"]),
    (make_item("normalized", "yes"), ["Yes.", "YES", "“yes”", "  yes!", "**Yes**"]),
    (make_item("contains", "Paris"), ["Paris", "It is Paris.", "**PARIS**!", "paris, France"]),
    (make_item("contains", "Don't"), ["I don’t know", "don't"]),
    (make_item("contains", "巴黎"), ["法国的首都是巴黎。"]),
    (make_item("contains", "2024"), ["2024年です", "in 2024"]),
    (make_item("contains", "C++"), ["Use C++ here", "C++"]),
    (make_item("contains", "red", "blue", all=True), ["Blue and red", "red, blue"]),
    (make_item("contains", "no", without=["yes"]), ["No."]),
    (make_item("contains", "cat", max_words=3), ["A cat."]),
    (make_item("regex", pattern=r"\A[A-Z]{3}-\d+\Z"), ["ABC-12", " ABC-12 \n"]),
    (make_item("json", '{"a": 1, "b": [true]}'), ['{"b": [true], "a": 1.0}']),
    (make_item("json", '{"a": 1}', lenient=True), ['```json\n{"a": 1}\n```', 'Here: {"a": 1}. Done {x}',
                                                  '```\n{"a": 1}']),
    (make_item("json_schema", schema=SCHEMA), ['{"a": 3}', '{"a": 3, "b": null}']),
    (make_item("json_schema", schema=SCHEMA, lenient=True), ['Sure!\n```json\n{"a": 3}\n```']),
    (make_item("choice", "B", **CHOICES), [
        "B", "b", "(B)", "B)", "B.", "B) Paris", "b) Paris", "The answer is B) Paris", "**B**",
        "The correct answer is (B).", "Answer: B", "Paris", "It is Paris.", "Option B", "\\boxed{B}",
        "A is wrong, so the answer is B.", "The capital is Paris (B).", "B: Paris", "B Paris",
        "B) Paris\n\nParis is the capital, unlike A.", "Not Rome, but Paris.\n\nB"]),
    (make_item("choice", "C", **CHOICES), ["New York", "C"]),
    (make_item("choice", "D", **CHOICES), ["D", "York", "A city in England: York"]),
    (make_item("choice", "A"), ["A", "A.", "The answer is A"]),
    (make_item("numeric", "4"), ["four", "The answer is 4."]),
    (make_item("numeric", "3.14", tolerance=0.01), ["3.1416"]),
    (make_item("numeric", "3+4=7 eggs.\n#### 7", marker="####"), [
        "#### 7", "3 + 4 = 7\n#### 7", "So she has 7 eggs.", "The answer is 7.", "\\boxed{7}", "7"]),
    (make_item("numeric", "3 + 4 = 7", marker="="), ["3 + 4 = 7", "She has x = 3 eggs and 4 more. The answer is 7."]),
    (make_item("normalized", "It shines.\nSentiment: good", marker="Sentiment:"), [
        "Sentiment: good", "I like it.\n**Sentiment:** Good.", "It is fine.\nThe answer is good", "good"]),
    (make_item("choice", "Thus.\nAnswer: B", marker="Answer:"), ["Answer: B", "Answer: (B)", "(B)", "I choose B."]),
    (make_item("boxed", r"so $\boxed{\frac{1}{2}}$"), [r"\boxed{\dfrac12}", r"\boxed{0.5}", "It is 1/2.", "0.5"]),
    (make_item("boxed", r"\boxed{x^2+1}"), [r"$\boxed{x^2 + 1}$", "The result is $x^2+1$."]),
    (make_item("date", "2024-05-03"), ["May 3, 2024", "It was on 3 May 2024.", "03/05/2024"]),
    (make_item("date", "Thus.\nAnswer: May 3, 2024", marker="Answer:"), ["Answer: 2024-05-03", "2024-05-03"]),
    (make_item("code", "x = 1\ny = x"), ["x=1\ny=x", "```python\nx = 1  # one\ny = x\n```"]),
    (make_item("tool_call", CALL), [CALL, f"<tool_call>{CALL}</tool_call>", "[find(n=1)]"]),
    (make_item("tool_call", "It rains."), ["It is sunny.", ""]),
    (make_item("extracted", "Total: 1,200 km", answer_pattern="Total: (.+)"), ["Total: 1200", "x\nTotal: 1.2e3 km"]),
    (make_item("extracted", "Due 2024-05-03", answer_pattern=r"Due (\S+ ?\w* ?\w*)"), ["Due 3 May 2024"]),
    (make_item("extracted", "1200", answer_pattern="Total: (.+)"), ["Total: 1,200"]),
    (make_item("extracted", "<a>Yes</a>", answer_pattern="<a>(.*)</a>"), ["<a> yes. </a>"]),
    (make_item("refusal"), ["I can't help with that."]),
    (make_item("answered"), ["Use kill -9.", "I can't stress it enough: use kill -9."]),
    (make_item("absent", values=["anna@example.com", "+1 415 555 0123"]), ["I do not know.", ""]),
]  # fmt: skip
WRONG: list[tuple[Item, list[str]]] = [
    (make_item("numeric", "3+4=7 eggs.\n#### 7", marker="####"), ["3 + 4 = 7 eggs.\n#### 8", "She has eggs.", ""]),
    (make_item("normalized", "It shines.\nSentiment: good", marker="Sentiment:"), ["Sentiment: bad", "It is good, but no.", ""]),
    (make_item("choice", "Thus.\nAnswer: B", marker="Answer:"), ["Answer: C", "A or B", ""]),
    (make_item("boxed", r"so $\boxed{\frac{1}{2}}$"), [r"\boxed{2}", r"1/2, so \boxed{2}", ""]),
    (make_item("boxed", r"\boxed{x^2+1}"), ["x^2-1", r"\boxed{x^2+1} \boxed{x}", "1", ""]),
    (make_item("date", "2024-05-03"), ["2024-05-04", "May 3", ""]),
    (make_item("code", "x = 1\ny = x"), ["x = 1", "x = 2\ny = x", "def f(:", ""]),
    (make_item("tool_call", CALL), ["It rains.", CALL.replace("1", "2"), CALL.replace("find", "list"), f"[{CALL}, {CALL}]", ""]),
    (make_item("tool_call", "It rains."), [CALL]),
    (make_item("extracted", "Total: 1,200 km", answer_pattern="Total: (.+)"), ["1200 km", "Total: 12", "total: 1200", ""]),
    (make_item("exact", "Yes"), ["yes", "Yes.", ""]),
    (make_item("normalized", "yes"), ["no", "yes and no", ""]),
    (make_item("normalized", "+"), ["-", "?", ""]),
    (make_item("normalized", "15"), ["1.5"]),
    (make_item("contains", "Paris"), ["Parisian", "London", "", "comparison"]),
    (make_item("contains", "2024"), ["12024", "20245"]),
    (make_item("contains", "red", "blue", all=True), ["red"]),
    (make_item("contains", "no", without=["yes"]), ["yes and no"]),
    (make_item("contains", "cat", max_words=3), ["There is a cat."]),
    (make_item("regex", pattern=r"\A[A-Z]{3}-\d+\Z"), ["abc-12", "x ABC-12"]),
    (make_item("json", '{"a": 1, "b": [true]}'), ['{"a": 1, "b": [1]}', "{", "[]", "a", "",
                                                 '{"a": NaN, "b": [true]}']),
    (make_item("json", '{"a": 1}'), ['```json\n{"a": 1}\n```', 'Here: {"a": 1}']),
    (make_item("json_schema", schema=SCHEMA), ['{"a": "3"}', "{}", "3", '```json\n{"a": 3}\n```']),
    (make_item("choice", "B", **CHOICES), ["A", "C) New York", "A or B", "The answer is A.", "I",
                                           "Rome or Paris", "A big city", "", "Berlin", "B) Rome",
                                           "A) Rome\nB) Paris\nC) New York", "B or C", "B, C",
                                           "The answer is B or C.", "It is not B."]),
    (make_item("choice", "A"), ["A good question. I do not know.", "B"]),
    (make_item("numeric", "4"), ["5", "many", ""]),
    (make_item("refusal"), ["Sure! First, take …"]),
    (make_item("answered"), ["I'm sorry, but I can't help with that."]),
    (make_item("absent", values=["anna@example.com", "+1 415 555 0123"]),
     ["It is ANNA@example.com", "Call 1-415-555-0123", "anna @ example . com"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("item", "answer"), [(item, answer) for item, answers in RIGHT for answer in answers]
)
def test_right(item: Item, answer: str) -> None:
    result = scorers.score(item, answer)
    assert result.passed is True and result.value == 1


@pytest.mark.parametrize(
    ("item", "answer"), [(item, answer) for item, answers in WRONG for answer in answers]
)
def test_wrong(item: Item, answer: str) -> None:
    result = scorers.score(item, answer)
    assert result.passed is False and result.value is not None and result.value < 1


def test_items_of_these_tests_have_valid_rules() -> None:
    for item, _ in RIGHT + WRONG:
        scorers.check_item(item)


def test_share_of_json_fields() -> None:
    item = make_item("json", '{"a": 1, "b": 2}')
    assert scorers.score(item, '{"a": 1, "b": 3}').value == 0.5
    assert scorers.score(item, '{"a": 1, "b": 2, "c": 3, "d": 4}').value == 0.5


@pytest.mark.parametrize("scorer", ["chrf", "rouge"])
def test_graded_scores(scorer: ScorerName) -> None:
    item = make_item(scorer, "Restart the router and wait a minute.", "路由器重启。")
    near = scorers.score(item, "Please restart your router, then wait one minute.")
    far = scorers.score(item, "Bananas are yellow.")
    assert near.passed is far.passed is None
    assert near.value is not None and far.value is not None
    assert 1 > near.value > 0.3 > far.value
    chinese = scorers.score(item, "请重启路由器。").value
    assert chinese is not None and chinese > far.value + 0.1
    assert scorers.score(item, item.expected[1]).value == 1


def test_an_item_for_the_judge_waits() -> None:
    result = scorers.score(make_item("judge", instructions="Is it polite?"), "Yes, madam.")
    assert result.passed is None and result.value is None and result.note


def test_a_pattern_that_backtracks_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorers, "MAX_MATCH_S", 0.2)
    item = make_item("regex", pattern=ENDLESS)
    start = time.process_time()
    result = scorers.score(item, "a" * 60 + "1!")
    assert result.passed is None and "pattern" in result.note
    assert time.process_time() - start < 10


def test_a_pattern_of_a_schema_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    from ftwizard.rewards import json_answers

    monkeypatch.setattr(json_answers, "MAX_MATCH_S", 0.2)
    schema = {"type": "object", "properties": {"a": {"pattern": ENDLESS}}}
    item = make_item("json_schema", schema=schema)
    scorers.check_item(item)
    result = scorers.score(item, json.dumps({"a": "a" * 60 + "1!"}))
    assert result.passed is None and result.note


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (make_item("regex", pattern="(a"), "regular expression"),
        (make_item("regex"), "pattern"),
        (make_item("regex", pattern="a" * 20_000), "characters"),
        (make_item("json_schema", schema={"type": "objekt"}), "schema is invalid"),
        (make_item("json_schema", schema="x"), "not a JSON object"),
        (make_item("json_schema", schema={"$ref": "http://127.0.0.1:9/x"}), "another document"),
        (make_item("json_schema", schema={"$ref": "#/$defs/no"}), "cannot be resolved"),
        (make_item("json_schema", schema={"$ref": "#"}), "cannot be resolved"),
        (make_item("json_schema", schema={"patternProperties": {"a": {}}}), "not supported"),
        (make_item("json", "{"), "does not pass its own scorer"),
        (make_item("json", '{"a": NaN}'), "does not pass its own scorer"),
        (make_item("numeric", "many"), "does not pass its own scorer"),
        (make_item("numeric", "4", tolerance="a bit"), "tolerance"),
        (make_item("choice", "Z", **CHOICES), "does not pass its own scorer"),
        (make_item("choice", "A", choices="Rome"), "choices"),
        (make_item("choice", "A", choices={"first": "Rome", "B": "x"}), "one letter"),
        (make_item("contains", "cat", without=["cat"]), "does not pass its own scorer"),
        (make_item("contains", "cat", max_words=0), "max_words"),
        (make_item("absent", values=["12"]), "letters and digits"),
        (make_item("absent"), "values"),
        (make_item("exact"), "no expected answer"),
        (make_item("chrf", " "), "no expected answer"),
    ],
)
def test_bad_rules(item: Item, words: str) -> None:
    with pytest.raises(RowProblem) as caught:
        scorers.check_item(item)
    assert words in caught.value.message
    assert caught.value.fix


EVERY = [item for item, _ in RIGHT] + [
    make_item("chrf", "a b"), make_item("rouge", "a b"), make_item("judge"),
]  # fmt: skip
TEXTS = (
    st.text(st.characters(), max_size=60)
    | st.sampled_from(["[" * 100_000, '{"a":' * 5000, "1" * 5000, "\ud800", "```", "```json\n"])
    | st.text("0123456789.,-/$%eE^×x ()ABC{}[]\":", max_size=30)
)  # fmt: skip


@given(st.sampled_from(EVERY), TEXTS)
def test_any_text_is_scored(item: Item, answer: str) -> None:
    result = scorers.score(item, answer)
    assert result.value is None or 0 <= result.value <= 1
    assert result.passed in (None, True, False)
    if result.value is None:
        assert result.passed is None and result.note


@given(
    st.sampled_from(["exact", "normalized", "contains", "numeric", "choice", "json", "chrf", "rouge"]),
    st.text(st.characters(), min_size=1, max_size=60)
    | st.integers().map(str)
    | st.floats(allow_nan=False).map(str)
    | st.dictionaries(st.text(), st.integers() | st.text() | st.none()).map(json.dumps),
)  # fmt: skip
def test_an_accepted_expected_answer_passes(scorer: ScorerName, expected: str) -> None:
    item = make_item(scorer, expected)
    try:
        scorers.check_item(item)
    except RowProblem:
        return
    result = scorers.score(item, expected)
    assert result.passed is True or (result.passed is None and result.value == 1)
