"""Tests of evaluate/near_rows.py."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftwizard.evaluate import near_rows
from ftwizard.evaluate.near_rows import MAX_NEAR, find_near_rows, split_grams

ROWS = [
    (3, "How do I reset the router?", "Hold the button for ten seconds, then wait."),
    (7, "What does the red light mean?", "The router has no connection to the internet."),
    (9, "Who are you?", "I am the assistant of Acme."),
]


def test_the_row_with_most_of_the_words_is_first_whether_in_prompt_or_answer() -> None:
    by_prompt, by_answer, none = find_near_rows(
        [
            "please: how do I reset the router",
            "the light blinks\nthe router has no connection to the internet",
            "entirely different words in this text",
        ],
        ROWS,
    )
    assert [row.line for row in by_prompt] == [3]
    assert by_answer[0].line == 7 and by_answer[0].text.endswith("the internet.")
    assert none == []


def test_words_that_most_rows_share_do_not_make_them_near() -> None:
    rows = [(line, "You help customers of Acme with bills.", f"bill {line}") for line in range(50)]
    rows.append((99, "You help customers of Acme with bills.", "the invoice was sent by mail"))
    near = find_near_rows(["You help customers of Acme with bills. the invoice was sent"], rows)[0]
    assert [row.line for row in near] == [99]


def test_a_short_query_matches_as_a_whole() -> None:
    assert [row.line for row in find_near_rows(["who"], ROWS)[0]] == [9]
    assert find_near_rows(["", "!?"], ROWS) == [[], []]
    assert find_near_rows(["a b c"], []) == [[]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("ab cd", max_size=30), max_size=12), st.text("ab cd", max_size=30))
def test_shares_are_those_of_a_search_over_all_pairs(texts: list[str], query: str) -> None:
    rows: list[tuple[int, str, str]] = [(number, "", text) for number, text in enumerate(texts)]
    near = find_near_rows([query], rows)[0]
    assert len(near) <= MAX_NEAR
    assert [row.share for row in near] == sorted((row.share for row in near), reverse=True)
    wanted = split_grams(query)
    if len(texts) <= 5 and len(query.split()) >= 3:  # too few for a common n-gram
        shares = [round(len(wanted & split_grams(text)) / len(wanted), 3) for text in texts]
        best = max(shares, default=0.0)
        assert (near[0].share if near else 0.0) == (best if best >= 0.1 else 0.0)


def test_many_rows_are_sampled_for_what_they_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_rows, "SAMPLE", 20)
    template = "answer the customer in JSON please:"
    rows = [(n + 1, f"{template} ticket{n} is about topic{n % 7}", f"id{n}") for n in range(500)]
    query = f"{template} ticket77 is about topic{77 % 7}"
    near = find_near_rows([query], rows)[0]
    assert near[0].line == 78 and near[0].share == 1.0
    assert all(row.share < 1 for row in near[1:])
