"""Splits that group related rows and keep the share of each kind of row."""

from __future__ import annotations

import random
import subprocess
import sys
from itertools import chain
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftwizard.data import grouping, reader
from ftwizard.data.conversation import Conversation
from ftwizard.data.example import Example
from ftwizard.data.split import Division, Parts, split
from ftwizard.data.split import divide as divide_examples
from ftwizard.errors import FtwizardError
from tests.data.dedup.test_near_duplicates import sentence

Turns = list[tuple[str, str]]


def row(line: int, *turns: tuple[str, str], **more: Any) -> reader.ParsedRow:
    messages = [
        {"role": role, "content": text}
        for asked, answered in turns
        for role, text in (("user", asked), ("assistant", answered))
    ]
    meaning = Example(kind="chat", messages=messages, **more)
    return reader.ParsedRow(
        line=line, example=meaning, conversation=Conversation(messages=messages, **more)
    )


def divide(rows: list[reader.ParsedRow], seed: int = 1, share: float = 0.1) -> Parts:
    return split(rows, validation=share, test=share, seed=seed, group_by="near-copies")


def division(rows: list[reader.ParsedRow], seed: int = 1) -> Division:
    return divide_examples([row.example for row in rows], validation=0.1, test=0.1, seed=seed)


def sides(parts: Parts) -> dict[int, str]:
    return {
        row.line: name for name in ("train", "validation", "test") for row in getattr(parts, name)
    }


def texts(seed: int, count: int, length: int = 30) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(sentence(rng, length)) for _ in range(count)]


_rows = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 9)), min_size=12, max_size=60)


@given(_rows, st.integers(), st.floats(0.05, 0.25))
def test_split_keeps_all_rows_and_never_separates_a_prompt(
    pairs: list[tuple[int, int]], seed: int, share: float
) -> None:
    spellings = ("prompt {}", "Prompt  {}", " PROMPT {}\n")
    rows = [
        row(n, (spellings[a % 3].format(p), f"answer {a}")) for n, (p, a) in enumerate(pairs, 1)
    ]
    try:
        parts = divide(rows, seed, share)
    except FtwizardError:
        assert len({p for p, _ in pairs}) < 12
        return
    lines = [[r.line for r in part] for part in (parts.train, parts.validation, parts.test)]
    assert sorted(chain.from_iterable(lines)) == list(range(1, len(rows) + 1))
    assert all(part == sorted(part) for part in lines)
    assert parts.validation and parts.test
    side = sides(parts)
    for prompt in range(16):
        assert len({side[n] for n, (p, _) in enumerate(pairs, 1) if p == prompt}) <= 1
    assert sides(divide(rows, seed, share)) == side


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_split_depends_on_the_seed_but_not_row_order(seed: int) -> None:
    rows = [row(n, (text, text[::-1])) for n, text in enumerate(texts(seed, 60), 1)]
    rows += [row(100 + n, (f"{rows[n].conversation.messages[0]['content']} x", "y"))
             for n in range(6)]  # fmt: skip
    side = sides(divide(rows, seed))
    shuffled = list(rows)
    random.Random(seed).shuffle(shuffled)
    assert sides(divide(shuffled, seed)) == side
    assert sides(divide(rows, seed + 1)) != side
    for n in range(6):
        assert side[n + 1] == side[100 + n], "near copies of a prompt share a side"
    assert list(side.values()).count("validation") == list(side.values()).count("test") == 7


def test_split_is_identical_across_processes() -> None:
    code = """
from tests.data.test_split import divide, row, sides, texts
print(sides(divide([row(n, (t, t)) for n, t in enumerate(texts(1, 50), 1)])))
"""
    runs = {
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True,
                       env={"PYTHONHASHSEED": hashed, "PYTHONPATH": ":".join(sys.path)}).stdout
        for hashed in ("1", "2")
    }  # fmt: skip
    assert len(runs) == 1


def test_near_copies_of_prompts_or_answers_share_a_side() -> None:
    for seed in range(12):
        words = texts(seed, 40)
        rows = [row(n, (text, "one of many " + text)) for n, text in enumerate(words, 1)]
        rows.append(row(41, (f"{words[4]} too", "another answer altogether")))
        rows.append(row(42, ("hi", "one of many " + words[5])))
        rows.append(row(43, ("hello", "one of many " + words[5] + " indeed")))
        side = sides(divide(rows, seed, 0.2))
        assert side[5] == side[41]
        assert side[42] == side[43]


def test_earlier_prompts_group_rows_but_greetings_do_not() -> None:
    first = "Which planet is the largest of all?"
    for seed in range(12):
        rows = [row(n, ("hi", f"hello {text}"), (text, "yes"))
                for n, text in enumerate(texts(seed, 40, 12), 1)]  # fmt: skip
        rows.append(row(41, (first, "Jupiter."), ("And the smallest?", "Mercury.")))
        rows.append(row(42, (first.upper(), "It is Jupiter.")))
        parts = divide(rows, seed, 0.2)
        assert sides(parts)[41] == sides(parts)[42]
        assert division(rows, seed).largest == 2


def test_large_group_stays_in_training_and_shares_hold() -> None:
    words = texts(3, 50)
    rows = [row(n, ("same", f"answer {n}")) for n in range(1, 61)]
    rows += [row(60 + n, (text, text)) for n, text in enumerate(words, 1)]
    parts = divide(rows)
    assert (len(parts.validation), len(parts.test)) == (11, 11)
    result = division(rows)
    assert (result.groups, result.largest) == (51, 60)
    assert {r.line for r in parts.train} >= set(range(1, 61))


@given(st.integers())
def test_each_kind_keeps_its_share_on_every_side(seed: int) -> None:
    answers = ["positive"] * 120 + ["negative"] * 60 + ["neutral"] * 20
    rows = [row(n, (f"number {n} says", answer)) for n, answer in enumerate(answers, 1)]
    assert division(rows, seed).kinds == {
        "negative": {"train": 48, "validation": 6, "test": 6},
        "neutral": {"train": 16, "validation": 2, "test": 2},
        "positive": {"train": 96, "validation": 12, "test": 12},
    }


def test_kinds_are_described_by_features_that_differ() -> None:
    def make_example(answer: str = "a", **more: Any) -> Example:
        turns = [{"role": "user", "content": more.pop("asked", "q")},
                 {"role": "assistant", "content": answer}]  # fmt: skip
        return Example(kind="chat", messages=more.pop("turns", 1) * turns, **more)

    assert grouping.describe_kinds([make_example(str(n)) for n in range(30)]) == ["all"] * 30
    kinds = grouping.describe_kinds([
        *(make_example(str(n), extra={"category": "qa", "id": n}) for n in range(20)),
        *(make_example(str(n), extra={"category": "code", "id": n}, tools=[{}]) for n in range(20)),
        *(make_example("да", asked="Привет, как дела сегодня?", turns=2) for _ in range(1)),
    ])  # fmt: skip
    assert kinds[0] == "qa, one answer, no tools, Latin"
    assert kinds[20] == "code, one answer, tools, Latin"
    assert kinds[40] == "several answers, no tools, Cyrillic"
    labelled = [
        Example(kind="labelled", messages=make_example(str(n)).messages, label=n % 2 == 0)
        for n in range(30)
    ]
    assert grouping.describe_kinds(labelled)[:2] == ["wanted", "unwanted"]


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("今天天气很好", "Han or Kana"), ("こんにちは、世界", "Han or Kana"), ("안녕하세요", "Hangul"),
        ("สวัสดีครับ", "Thai"), ("नमस्ते दुनिया", "Indic"), ("שלום עולם", "Hebrew"),
        ("مرحبا بالعالم", "Arabic"), ("Καλημέρα", "Greek"), ("Größe, naïve, Łódź", "Latin"),
        ("12 ± 3 € …", "Latin"),
    ],
)  # fmt: skip
def test_kind_names_the_script_of_the_text(text: str, script: str) -> None:
    rows = [Example(kind="text", text=text), Example(kind="text", text="Привет, как дела?")]
    assert grouping.describe_kinds(rows) == [script, "Cyrillic"]


def test_rows_with_unusual_text_are_split() -> None:
    odd = ["", "\ud800", "\x00", " ", "\x1e", "a\x1eb", "👍", "\u202e"]
    rows = [row(n, (text, text)) for n, text in enumerate(odd * 3, 1)]
    parts = divide(rows)
    assert len(parts.train) + len(parts.validation) + len(parts.test) == len(rows)


def test_prompt_key_ignores_case_spacing_and_system_prompt() -> None:
    def key(*messages: Any) -> bytes:
        listed = [dict(zip(("role", "content"), message, strict=True)) for message in messages]
        return grouping.prompt_key(Example(kind="chat", messages=listed))

    asked = ("user", "What is it?")
    assert key(asked, ("assistant", "a")) == key(("system", "Be brief."), ("user", "what  IS it?"))
    assert key(asked, ("assistant", "a"), asked, ("assistant", "b")) != key(asked)
    assert key(("assistant", "once"), ("assistant", "b")) != key(("assistant", "twice"))


def test_split_by_prompt_stays_the_same_across_versions() -> None:
    rows = [row(n, (f"Number {n % 45}?", f"{n}")) for n in range(1, 61)]
    parts = split(rows, validation=0.1, test=0.1, seed=42)
    assert [r.line for r in parts.validation] == [10, 13, 29, 33, 55, 58]
    assert [r.line for r in parts.test] == [11, 19, 22, 24, 37, 56]
