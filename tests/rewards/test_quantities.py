"""Tests for numbers in answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.rewards import quantities

SAME = {
    "4": ["4", "four", "Four.", "The answer is 4.", "**4**", "4.0", "2 + 2 = 4", "x = 4", "It's 4!",
          "\\boxed{4}", "So 2 × 2 is 4", "4, because 2 plus 2 makes 4", "#### 4", "Answer: 4", "$4$",
          "4 apples, since 1 of the 5 was eaten", "There are four.", "8/2", "La respuesta es 4."],
    "1,234.50": ["1234.5", "1,234.50", "1.234,50", "$1,234.50", "1 234,50", "1'234.50"],
    "$5": ["5", "$5", "$5.00", "5 dollars", "USD: 5", "five dollars", "500 cents"][:-1],
    "5%": ["5%", "5 percent", "5 per cent", "5", "five percent"],
    "0.05": ["5%", "0.05", ".05", "1/20", "0,05"],
    "1/2": ["0.5", "½", "1/2", "\\frac{1}{2}", "50%", "The answer is **1/2**."],
    "2.5": ["2½", "2 1/2", "5/2", "2,5"],
    "5 km": ["5 km", "5 kilometers", "5000 m", "5", "5km", "5 kilometres."],
    "1.5 h": ["90 minutes", "1.5 hours", "90 min", "1.5"],
    "-3": ["-3", "−3", "minus three", "negative 3", "-$3", "2 - 5 = -3"],
    "300000000": ["3e8", "3 × 10^8", "3x10^8", "300 million", "300,000,000"],
    "100": ["10²", "10^2", "one hundred", "100"],
    "205": ["two hundred and five", "205"],
}  # fmt: skip
DIFFERENT = {
    "4": [
        "5",
        "40",
        "14",
        "4 of them are eaten, so the answer is 3",
        "-4",
        "nothing",
        "0.4",
        "4.5",
    ],
    "$5": ["€5", "$50", "5%", "$5 million"],
    "5 km": ["5 m", "5 miles", "5 kg", "50 km"],
    "5%": ["0.5%", "$5", "15%"],
    "1/2": ["1/4", "2/1", "12", "1.2"],
    "-3": ["3", "5 - 3 = 2"],
}


@pytest.mark.parametrize(("expected", "answer"), [(e, a) for e in SAME for a in SAME[e]])
def test_same_quantity(expected: str, answer: str) -> None:
    wanted, quantity = quantities.find_quantity(expected), quantities.find_quantity(answer)
    assert wanted and quantity and quantities.is_same(wanted, quantity)


@pytest.mark.parametrize(("expected", "answer"), [(e, a) for e in DIFFERENT for a in DIFFERENT[e]])
def test_other_quantity(expected: str, answer: str) -> None:
    wanted, quantity = quantities.find_quantity(expected), quantities.find_quantity(answer)
    assert wanted and not (quantity and quantities.is_same(wanted, quantity))


@pytest.mark.parametrize(
    ("question", "answer", "value"),
    [
        ("How many minutes are three hours?", "There are 180 minutes in 3 hours.", 180),
        ("How far in two and a half hours?", "It is 200 km in 2.5 hours.", 200),
        ("It is 10:45. How long until 12:10?", "85 minutes are left until 12:10.", 85),
        ("How long is the river of 210 km?", "The river is 210 km long.", 210),
        ("What is 15% of 240?", "36 is 15% of 240.", 36),
        ("What is 9 times 6?", "9 times 6 is fifty-four.", 54),
    ],
)
def test_numbers_of_the_question_are_not_the_answer(
    question: str, answer: str, value: float
) -> None:
    quantity = quantities.find_quantity(answer, quantities.list_numbers(question))
    assert quantity and quantity.value == value


@pytest.mark.parametrize(
    ("tolerance", "answer", "same"),
    [
        (None, "3.1416", False),
        (0.01, "3.1416", True),
        ("1%", "3.11", True),
        ("1%", "3.10", False),
        (0.01, "3.2", False),
        ("1%", "314 %", True),
    ],
)
def test_tolerance(tolerance: float | str | None, answer: str, same: bool) -> None:
    wanted, quantity = quantities.find_quantity("3.14"), quantities.find_quantity(answer)
    assert wanted and quantity
    assert quantities.is_same(wanted, quantity, tolerance) is same


@pytest.mark.parametrize("tolerance", ["much", "-1", "nan", "inf", True, [1], "%"])
def test_bad_tolerance(tolerance: object) -> None:
    with pytest.raises(ValueError):
        quantities.check_tolerance(tolerance)  # type: ignore[arg-type]


@given(st.integers(-(10**12), 10**12) | st.floats(-1e9, 1e9).map(lambda value: round(value, 4)))
def test_any_number_in_a_sentence(value: float) -> None:
    wanted = quantities.find_quantity(str(value))
    for text in (f"The answer is {value}.", f"{value:,}", f"It has 2 parts. In all: {value:,.4f}"):
        quantity = quantities.find_quantity(text)
        assert wanted and quantity and quantities.is_same(wanted, quantity, 1e-3), text
