"""Kinds of expected answers: what is recognized from rows, and what is taken as the answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftwizard.data import reader
from ftwizard.data.conversation import to_compared
from ftwizard.rewards.answer_kinds import AnsweredRow, list_choices, recognize, to_answered
from ftwizard.rewards.recognized_answers import RecognizedAnswers, are_short

NAMES = (
    "Anna",
    "Ben",
    "Carla",
    "David",
    "Elif",
    "Farid",
    "Grace",
    "Hugo",
    "Ines",
    "Jonas",
    "Kim",
    "Leo",
)
PLACES = ("market", "school", "station", "library", "garden", "harbor")


def solve(n: int) -> tuple[str, int, int]:
    """Return a worked step on which a word problem ends, and its numbers."""
    price, count = 3 + n, 2 + n % 5
    return (
        f"{NAMES[n % 12]} buys {count} boxes.\nEach costs {price}, so {count}*{price}={count * price}.",
        count,
        price,
    )


def story(n: int) -> str:
    ends = ("It was the summer of 1984.", "They counted the stars until dawn.", "Nobody ever found out.",
            "He had waited for 12 years.", "The bill was 40 dollars.")  # fmt: skip
    return (
        f"Once {NAMES[n % 12]} walked to the {PLACES[n % 6]} and met an old friend who told of the sea. "
        f"The {PLACES[(n + 2) % 6]} was empty, and {NAMES[(n + 5) % 12]} had already left. {ends[n % 5]}"
    )


Row = tuple[str, str]
KINDS: dict[str, tuple[Callable[[int], Row], str, str]] = {
    "worked solutions": (lambda n: (f"Question {n}?", f"{solve(n)[0]}\n#### {solve(n)[1] * solve(n)[2]}"), "numeric", "####"),
    "the answer is": (lambda n: (f"Question {n}?", f"{solve(n)[0]} The answer is {solve(n)[1] * solve(n)[2]}."), "numeric", "The answer is"),
    "answer in dollars": (lambda n: (f"Question {n}?", f"{solve(n)[0]}\n\n**Answer:** ${solve(n)[1] * solve(n)[2]:,}.00"), "numeric", "Answer:"),
    "german": (lambda n: (f"Aufgabe {n}?", f"{solve(n)[0]}\nDas macht insgesamt {solve(n)[1] * solve(n)[2]} Euro."), "numeric", "Das macht insgesamt"),
    "equation": (lambda n: (f"Compute {n}.", f"We add the numbers step by step.\n{n} + {n * 3} = {n * 4}"), "numeric", "="),
    "bold": (lambda n: (f"Question {n}?", f"{solve(n)[0]} The total cost is therefore **{solve(n)[1] * solve(n)[2]}**."), "numeric", "The total cost is therefore **"),
    "boxed": (lambda n: (f"Simplify {n}.", rf"Dividing both sides by {n + 2} gives the result $\boxed{{\frac{{{n}}}{{{n + 2}}}}}$, as was to be shown."), "boxed", ""),
    "numbers": (lambda n: (f"{n} + {n}?", f"{n * 2:,}"), "numeric", ""),
    "letters": (lambda n: (f"Which?\nA) red\nB) blue\nC) green\nNumber {n}", "ABC"[n % 3]), "choice", ""),
    "letters with text": (lambda n: (f"Which? (A) red (B) blue (C) green, {n}", ["(A) red", "(B) blue", "(C) green"][n % 3]), "choice", ""),
    "letters after reasoning": (lambda n: (f"Which? {n}", f"We know that {story(n)}\nAnswer: {'ABCD'[n % 4]}"), "choice", "Answer:"),
    "json": (lambda n: (f"Extract {n}", json.dumps({"name": NAMES[n % 12], "age": n})), "json", ""),
    "fenced json": (lambda n: (f"Extract {n}", "```json\n" + json.dumps({"age": n}, indent=1) + "\n```"), "json", ""),
    "json lists": (lambda n: (f"Entities {n}", json.dumps([NAMES[n % 12], n])), "json", ""),
    "labels": (lambda n: (f"Review {n}", ["positive", "negative", "neutral"][n % 3]), "normalized", ""),
    "labels after reasoning": (lambda n: (f"Review {n}", f"{story(n)}\n\nSentiment: {['good', 'bad'][n % 2]}"), "normalized", "Sentiment:"),
    "long labels": (lambda n: (f"Ticket {n}", ["Please restart the router, wait for two minutes, and then try it again.", "Your invoice is in the customer portal under the heading of this month."][n % 2]), "normalized", ""),
    "short facts": (lambda n: (f"Capital {n}?", f"{NAMES[n % 12]} City {n}"), "normalized", ""),
    "postal codes": (lambda n: (f"Code of {n}?", f"0{1000 + n}"), "normalized", ""),
    "iso dates": (lambda n: (f"When? {n}", f"2024-05-{n + 1:02}"), "date", ""),
    "written dates": (lambda n: (f"When? {n}", f"May {n + 1}, 2024"), "date", ""),
    "code": (lambda n: (f"Add {n}", f"def add(x):\n    # adds\n    return x + {n}"), "code", ""),
    "fenced code": (lambda n: (f"Add {n}", f"```python\nfor i in range({n}):\n    print(i)\n```"), "code", ""),
    "code that ends in a number": (lambda n: (f"Give {n}", f"def give():\n    return {n}"), "code", ""),
    "solutions": (lambda n: (f"Solve x - {n} = 3", f"x = {n + 3}"), "numeric", "x ="),
    "hermes calls": (lambda n: (f"Weather {n}", f'<tool_call>\n{{"name": "get_weather", "arguments": {{"day": {n}}}}}\n</tool_call>'), "tool_call", ""),
    "calls as python": (lambda n: (f"Do {n}", f"{{'name':terminal, 'parameters':{{'commands': ['mkdir p{n}']}}}}"), "tool_call", ""),
    "stories": (lambda n: (f"A story, {n}", story(n)), "chrf", ""),
    "stories that end in years": (lambda n: (f"A story, {n}", f"{story(n)} That was in {1900 + n}"), "chrf", ""),
    "support": (lambda n: (f"Where is my order {48210 + n * 7}?", f"Hello {NAMES[n % 12]}, thank you for your message, we are looking into it now. Your order number is {48210 + n * 7}."), "chrf", ""),
    "new tickets": (lambda n: (f"My {PLACES[n % 6]} is broken.", f"Hello {NAMES[n % 12]}, we are sorry to hear about that and will help you. Your ticket is {1204210 + n * 7}"), "chrf", ""),
    "phone numbers": (lambda n: (f"Help {n}", f"{story(n)}\nCall us at 555-0100"), "chrf", ""),
    "mixed instructions": (lambda n: (f"Do {n}", [story(n), "Paris", f"1. {story(n)}\n2. Eat well.", "- a\n- b", f"def f():\n    return {n}"][n % 5]), "chrf", ""),
    "equal answers": (lambda n: (f"Anything {n}", "OK"), "chrf", ""),
}  # fmt: skip


def make_rows(name: str, count: int = 24) -> list[AnsweredRow]:
    pairs = [KINDS[name][0](n) for n in range(count)]
    return [
        AnsweredRow(n, answer, [{"role": "user", "content": prompt}])
        for n, (prompt, answer) in enumerate(pairs, 1)
    ]


@pytest.mark.parametrize("name", KINDS)
def test_kind_is_recognized(name: str) -> None:
    _, scorer, marker = KINDS[name]
    recognized = recognize(make_rows(name))
    assert (recognized.scorer, recognized.marker) == (scorer, marker)
    assert recognized.rows == recognized.total == 24


FORMATS: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "chat": lambda p, a: {"messages": [{"role": "user", "content": p}, {"role": "assistant", "content": a}]},
    "alpaca": lambda p, a: {"instruction": p, "input": "", "output": a},
    "pairs": lambda p, a: {"prompt": p, "completion": a},
    "sharegpt": lambda p, a: {"conversations": [{"from": "human", "value": p}, {"from": "gpt", "value": a}]},
}  # fmt: skip


def read_rows(path: Path, rows: list[dict[str, Any]]) -> list[AnsweredRow]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = reader.read_table(path, "auto", convert=to_compared)
    answered = [to_answered(row.line, row.conversation) for row in table.rows]
    return [row for row in answered if row]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "name", ["worked solutions", "boxed", "letters", "json", "labels", "stories"]
)
def test_kind_is_recognized_in_each_format(name: str, format: str, tmp_path: Path) -> None:
    pairs = [KINDS[name][0](n) for n in range(12)]
    rows = read_rows(tmp_path / "rows.jsonl", [FORMATS[format](*pair) for pair in pairs])
    assert recognize(rows).scorer == KINDS[name][1]


def make_call_row(n: int, *, calls: bool = True, follows: bool = False) -> dict[str, Any]:
    call = {
        "function": {"name": "find", "arguments": json.dumps({"n": n})},
        "id": "c",
        "type": "function",
    }
    messages: list[dict[str, Any]] = [{"role": "user", "content": f"Find {n}"}]
    if calls:
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
    if follows:
        messages.append({"role": "tool", "tool_call_id": "c", "content": "12"})
    if follows or not calls:
        messages.append({"role": "assistant", "content": f"There are {story(n)}"})
    tool = {
        "type": "function",
        "function": {"name": "find", "parameters": {"type": "object", "properties": {}}},
    }
    return {"messages": messages, "tools": [tool]}


def test_tool_calls_are_compared_at_the_turn_that_calls(tmp_path: Path) -> None:
    rows = read_rows(
        tmp_path / "rows.jsonl",
        [make_call_row(n, calls=n % 2 == 0, follows=n % 3 == 0) for n in range(12)],
    )
    recognized = recognize(rows)
    assert (recognized.scorer, recognized.rows, recognized.total) == ("tool_call", 12, 12)
    assert rows[0].messages == [{"role": "user", "content": "Find 0"}]
    assert json.loads(rows[0].answer) == [{"name": "find", "arguments": {"n": 0}}]
    assert [example.answer for example in recognized.examples][1] == "no call"


def test_few_rows_without_an_answer_are_left_out_not_the_kind() -> None:
    rows = make_rows("worked solutions", 50)
    rows[7] = rows[7]._replace(answer="I cannot say.")
    recognized = recognize(rows)
    assert (recognized.scorer, recognized.rows, recognized.total) == ("numeric", 49, 50)
    rows = [row._replace(answer=story(n)) if n % 4 == 0 else row for n, row in enumerate(rows)]
    assert recognize(rows).scorer == "chrf"


def test_evidence_has_three_rows_with_what_is_taken() -> None:
    recognized = recognize(make_rows("worked solutions"))
    assert [(e.line, e.answer) for e in recognized.examples] == [(1, "6"), (2, "12"), (3, "20")]
    assert all(e.tail.endswith(f"#### {e.answer}") for e in recognized.examples)


def test_a_user_names_scorer_and_pattern() -> None:
    rows = make_rows("worked solutions")
    assert recognize(rows, "exact").rows == 24
    named = recognize(rows, "numeric")
    assert (named.marker, named.is_chosen) == ("####", True)
    by_pattern = recognize(rows, None, r"#### (\d+)")
    assert (by_pattern.scorer, by_pattern.rows, by_pattern.rule) == (
        "extracted",
        24,
        {"answer_pattern": r"#### (\d+)"},
    )
    assert recognize(rows, None, r"Total: (\d+)").rows == 0


def test_a_pattern_that_backtracks_is_tried_once() -> None:
    rows = [AnsweredRow(n, "a" * 40 + "!", []) for n in range(100)]
    recognized = recognize(rows, None, r"^((a|aa)+)$")
    assert (recognized.rows, len(recognized.examples)) == (0, 3)


def test_many_rows_take_little_time() -> None:
    rows = make_rows("worked solutions", 24) * 10_000
    recognized = recognize(rows)
    assert recognized.scorer == "numeric" and recognized.total <= 2_000


@pytest.mark.parametrize(
    ("prompt", "choices"),
    [
        ("Which?\nA) red\nB) blue", {"A": "red", "B": "blue"}),
        ("Which? (A) red (B) light blue\nAnswer:", {"A": "red", "B": "light blue"}),
        ("A. One sentence. That is all.", {}),
        ("Who was E. T. A. Hoffmann?", {}),
    ],
)
def test_choices_are_read_from_the_prompt(prompt: str, choices: dict[str, str]) -> None:
    assert list_choices(prompt) == choices


def test_no_rows_have_no_kind() -> None:
    assert recognize([]) == RecognizedAnswers(scorer="chrf")


STORY = "The login page rejects your password because the account was locked after five attempts."


@pytest.mark.parametrize(
    ("texts", "is_short"),
    [
        (["billing", "shipping", "billing"], True),
        (["12, 3, 140", "Paris", "12 + 27 = 39."], True),
        ([STORY, "Second, " + STORY, "Third: " + STORY], False),
        (["yes", "no", STORY + " 1", STORY + " 2"], False),
        ([STORY, STORY + " B"] * 6, True),
        ([STORY], False),
        (["def f():\n    return 1", "x = 2\nprint(x)"], False),
        (["今日はとても良い天気ですから、みんなで公園に行って一緒に遊びましょう。そのあとで晩ご飯を食べに行きませんか。楽しみですね。"], False),
        (["良い天気"], True),
    ],
)  # fmt: skip
def test_short_answers_are_labels_and_facts(texts: list[str], is_short: bool) -> None:
    assert are_short(texts) is is_short
