"""Rows, prompts and answers that stand in a file, or in two files, more than once."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ftwizard.data.dedup import exact_duplicates
from ftwizard.data.dedup.row_hashes import RowHashes, hash_row
from ftwizard.data.example import Example
from ftwizard.data.findings import FileFinding

Rows = list[tuple[str, str]]
ROWS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz")), max_size=30)


def chat(prompt: str, answer: str, **more: Any) -> Example:
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return Example(kind="chat", messages=messages, **more)


def facts(rows: Rows) -> RowHashes:
    row_hashes = RowHashes()
    for line, (prompt, answer) in enumerate(rows, 1):
        row_hashes.add(line, chat(prompt, answer))
    return row_hashes


def by_code(result: Any) -> dict[str, FileFinding]:
    return {item.code: item for item in result}


@given(ROWS)
def test_duplicates_are_all_rows_but_the_first_of_each(rows: Rows) -> None:
    result = by_code(exact_duplicates.find_repeats(facts(rows)))
    later = [line for line, row in enumerate(rows, 1) if row in rows[: line - 1]]
    assert (result["duplicate"].lines if later else []) == later
    assert ("duplicate" in result) == bool(later)


@given(ROWS)
def test_a_conflict_is_every_row_of_a_prompt_with_two_answers(rows: Rows) -> None:
    result = by_code(exact_duplicates.find_repeats(facts(rows)))
    answers = {p: {a for q, a in rows if q == p} for p, _ in rows}
    torn = [line for line, (p, _) in enumerate(rows, 1) if len(answers[p]) > 1]
    assert (result["conflict"].lines if torn else []) == torn
    assert ("conflict" in result) == bool(torn)


@given(ROWS, ROWS)
def test_leakage_is_told_by_row_and_by_prompt_and_by_the_lines_of_the_validation_file(
    train: Rows, validation: Rows
) -> None:
    result = by_code(exact_duplicates.find_leakage(facts(train), facts(validation)))
    rows = [line for line, row in enumerate(validation, 1) if row in train]
    prompts = {p for p, _ in train}
    expected = [n for n, row in enumerate(validation, 1) if row[0] in prompts and row not in train]
    assert (result["leakage"].lines if rows else []) == rows
    assert (result["prompt_leakage"].lines if expected else []) == expected
    assert len(result) == bool(rows) + bool(expected)


def test_what_is_alike_as_text_under_other_roles_or_tools_is_not_the_same() -> None:
    plain = chat("a", "b")
    others = [
        chat("a", "b", tools=[{"type": "function"}]),
        Example(kind="chat", messages=[{"role": "tool", "content": "a"}, plain.messages[1]]),
        Example(kind="chat", messages=[{"role": "user", "content": "", "name": "n"}]),
        Example(kind="text", text="a"),
    ]
    assert len({hash_row(item)[:2] for item in [plain, *others]}) == 5
    parts = [{"role": "user", "content": "a\n\u2029\nb"}, plain.messages[1]]
    two = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}, plain.messages[1]]
    assert hash_row(Example(kind="chat", messages=parts)) != hash_row(
        Example(kind="chat", messages=two)
    )


def test_answers_to_nothing_do_not_contradict_each_other() -> None:
    def says(role: str, text: str) -> dict[str, str]:
        return {"role": role, "content": text}

    rows = [
        *(Example(kind="chat", messages=[says("assistant", text)]) for text in ("a", "b", "b")),
        Example(kind="chat", messages=[says("user", "b")]),
        *(
            Example(kind="preference", chosen=[says("assistant", text)], rejected=[])
            for text in ("a", "b", "b")
        ),
    ]
    row_hashes = RowHashes()
    for line, row in enumerate(rows, 1):
        row_hashes.add(line, row)
    assert {
        code: item.lines
        for code, item in by_code(exact_duplicates.find_repeats(row_hashes)).items()
    } == {"duplicate": [3, 7]}


def test_texts_have_no_prompt_and_so_no_conflict() -> None:
    row_hashes = RowHashes()
    for line, text in enumerate(("one", "two", "one"), 1):
        row_hashes.add(line, Example(kind="text", text=text))
    assert {repeat.code: repeat.lines for repeat in exact_duplicates.find_repeats(row_hashes)} == {
        "duplicate": [3]
    }


def test_one_answer_to_many_prompts_is_named_and_labels_are_not() -> None:
    same = [(f"question {n}", "I cannot help with that.") for n in range(60)]
    unlike = [(f"other {n}", f"answer {n}") for n in range(100)]
    result = by_code(exact_duplicates.find_repeats(facts([*same, *unlike])))
    assert (result["repeated_answer"].count, result["repeated_answer"].lines[:2]) == (60, [1, 2])
    labels = [(f"text {n}", ("good", "bad")[n % 2]) for n in range(200)]
    assert not by_code(exact_duplicates.find_repeats(facts(labels)))


def test_one_answer_to_every_prompt_is_named_in_a_small_file_too() -> None:
    same = [(f"question {n}", "I cannot help with that.") for n in range(20)]
    assert by_code(exact_duplicates.find_repeats(facts(same)))["repeated_answer"].count == 20
    assert not by_code(exact_duplicates.find_repeats(facts(same[1:])))
    assert not by_code(exact_duplicates.find_repeats(facts([*same, ("another", "Yes.")])))


def test_answers_that_all_begin_alike_are_named() -> None:
    rows = [
        (f"question {n}", f"Certainly! Here is what you asked for, number {n}.") for n in range(120)
    ]
    assert by_code(exact_duplicates.find_repeats(facts(rows)))["repeated_opening"].count == 120
    assert not by_code(
        exact_duplicates.find_repeats(facts([(p, f"{n}: {a}") for n, (p, a) in enumerate(rows)]))
    )


@given(ROWS, st.integers(0, 30))
def test_parts_of_a_file_put_together_are_the_file(rows: Rows, cut: int) -> None:
    first, second = facts(rows[:cut]), facts(rows[cut:])
    first.extend(second, len(rows[:cut]))
    whole = facts(rows)
    for name in ("lines", "prompts", "answers", "openings"):
        assert getattr(first, name) == getattr(whole, name)
