"""Parts of answers that are compared: boxed results, dates, tool calls, programs."""

from __future__ import annotations

from datetime import date

import pytest

from ftwizard.rewards import answer_parts as parts
from ftwizard.rewards.answer_parts import ToolCall
from ftwizard.rewards.quantities import read_quantity


@pytest.mark.parametrize(
    ("text", "boxed"),
    [
        (r"so $\boxed{42}$.", "42"),
        (r"\boxed{1} or rather \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed 7", "7"),
        (r"\fbox{x}", "x"),
        (r"\boxed{never closed", None),
        ("42", None),
    ],
)
def test_boxed_results(text: str, boxed: str | None) -> None:
    assert parts.find_boxed(text) == boxed


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("a\n#### 42\n", "42"),
        ("#### 1\n#### 2", "2"),
        ("THE ANSWER IS\n42.\nBye", "42."),
        ("#### ", None),
        ("42", None),
    ],
)
def test_text_after_a_marker(text: str, rest: str | None) -> None:
    assert parts.find_after(text, "####" if "#" in text else "the answer is") == rest


def test_patterns_take_the_first_group_of_the_last_match() -> None:
    assert parts.match_pattern("x=1\nx=2\ny=3", r"^x=(\d)$") == "2"
    assert parts.match_pattern("x=1", r"\d") == "1"
    assert parts.match_pattern("x", r"\d") is None
    assert parts.find_pattern_problem(r"(\d+") and not parts.find_pattern_problem(r"(\d+)")
    with pytest.raises(TimeoutError):
        parts.match_pattern("a" * 40 + "!", r"^(a|aa)+$")


@pytest.mark.parametrize(
    ("text", "dates"),
    [
        ("2024-05-03", [date(2024, 5, 3)]),
        ("3 May 2024", [date(2024, 5, 3)]),
        ("May 3rd, 2024.", [date(2024, 5, 3)]),
        ("Friday, May 3, 2024", [date(2024, 5, 3)]),
        ("3. Sept 2024", [date(2024, 9, 3)]),
        ("03/05/2024", [date(2024, 5, 3), date(2024, 3, 5)]),
        ("25/12/24", [date(2024, 12, 25)]),
        ("2024-13-03", None),
        ("2024-05-03 10:00", None),
        ("on May 3, 2024 it rained", None),
        ("192.168.10.20", None),
        ("may", None),
    ],
)
def test_dates(text: str, dates: list[date] | None) -> None:
    assert parts.read_date(text) == (None if dates is None else tuple(dates))


def test_a_date_with_two_readings_equals_a_clear_one() -> None:
    first, swapped = parts.read_date("03/05/2024"), parts.read_date("05/03/2024")
    clear = parts.read_date("2024-05-03")
    assert first and swapped and clear
    assert parts.is_same_date(first, clear) and parts.is_same_date(clear, first)
    assert parts.is_same_date(first, first) and not parts.is_same_date(first, swapped)


CALL = ToolCall("get_weather", {"city": "Paris", "days": 2})
JSON = '{"name": "get_weather", "arguments": {"city": "Paris", "days": 2}}'


@pytest.mark.parametrize(
    "text",
    [
        JSON,
        f"[{JSON}]",
        f"<tool_call>\n{JSON}\n</tool_call>",
        f"<tool_call>{JSON}",
        f"I look it up.\n<functioncall> {JSON}",
        f"```json\n{JSON}\n```",
        '{"type": "function", "function": {"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\", \\"days\\": 2}"}}',
        '{"name": "get_weather", "parameters": {"days": 2, "city": "Paris"}}',
        '<function=get_weather>{"city": "Paris", "days": 2}</function>',
        '[get_weather(city="Paris", days=2)]',
        "{'name': get_weather, 'parameters': {'city': 'Paris', 'days': 2}}",
    ],
)
def test_forms_of_a_call(text: str) -> None:
    assert parts.read_calls(text) == [CALL]


@pytest.mark.parametrize(
    "text", ["", "It rains.", "[1]", '{"city": "Paris"}', "[get_weather(", "{'a" * 9000]
)
def test_other_text_has_no_call(text: str) -> None:
    assert parts.read_calls(text) == []


def test_calls_are_compared_as_data_in_any_order() -> None:
    other = ToolCall("get_time", {"zone": "CET"})
    assert parts.is_same_calls([CALL, other], [other, CALL])
    assert not parts.is_same_calls([CALL], [CALL, CALL])
    assert not parts.is_same_calls([CALL], [CALL._replace(name="get_wind")])
    assert not parts.is_same_calls([CALL], [CALL._replace(arguments={"city": "Rome", "days": 2})])
    assert not parts.is_same_calls(
        [CALL._replace(arguments={"n": True})], [CALL._replace(arguments={"n": 1})]
    )


@pytest.mark.parametrize(
    ("text", "other", "same"),
    [
        ("x = 1\ny = f(x)", "x=1 # one\n\ny = f( x )", True),
        ("x = 1", "```python\nx = 1\n```", True),
        ("Here it is:\n```py\nx = 1\n```\nThat sets x.", "x = 1", True),
        ("x = 1", "x = 2", False),
        ("x = 1", "y = 1", False),
    ],
)
def test_the_same_program(text: str, other: str, same: bool) -> None:
    assert (parts.read_program(text) == parts.read_program(other)) is same


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "(1, 2)",
        "Hello there",
        "```sql\nSELECT 1\n```",
        "x = ",
        "(" * 10_000,
        "1+" * 9_000 + "1",
        "a\n" * 15_000,
    ],
)
def test_no_program(text: str) -> None:
    assert parts.read_program(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("42", 42), ("$1,200.50", 1200.5), ("42 apples", 42), ("-3", -3), (r"\frac{1}{2}", 0.5), ("5 km", 5),
     ("2x", None), ("(1, 2)", None), (r"2\sqrt{3}", None), ("x = 3", None), ("", None)],
)  # fmt: skip
def test_text_that_is_one_number(text: str, value: float | None) -> None:
    quantity = read_quantity(text)
    assert (quantity and quantity.value) == value


def test_equal_expressions() -> None:
    assert parts.normalize_math(r"\dfrac{1}{2}") == parts.normalize_math(
        r"\left. \frac12 \right.".replace(r"\left.", "").replace(r"\right.", "")
    )
    assert parts.normalize_math(r"\text{(B)}") == parts.normalize_math("(B)")
    assert parts.normalize_math("x^2 + 1") != parts.normalize_math("x^2 - 1")
