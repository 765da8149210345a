"""Format detection from the fields of all rows, and the problems of rows that do not fit."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.data import formats, reader
from ftwizard.data.checks import run
from ftwizard.data.conversation import Conversation, to_conversation
from ftwizard.data.example import RowProblem
from ftwizard.data.format_names import FORMAT_NAMES, Format
from ftwizard.data.io.inspect import FileProblem
from ftwizard.errors import FtwizardError
from tests.helpers.format_rows import ALPACA, CHAT, DIALECTS, PAIR
from tests.paths import FIXTURES

FIXTURES = FIXTURES / "formats"
HERE = Path("rows.jsonl")


def summarize(conversation: Conversation) -> list[tuple[str, str]]:
    return [(m["role"], m["content"]) for m in conversation.messages]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def best(row: Any) -> set[Format]:
    return set(formats.match_formats(row).best)


def test_alpaca_rows_become_conversations() -> None:
    table = reader.read_table(FIXTURES / "alpaca.jsonl")
    assert table.format == "alpaca"
    assert [summarize(row.conversation) for row in table.rows] == [
        [("user", "Reverse the words.\n\nhello world"), ("assistant", "world hello")],
        [("user", "Name a colour."), ("assistant", "Blue.")],
        [
            ("system", "You name colours."),
            ("user", "Name a colour."),
            ("assistant", "Blue."),
            ("user", "And another?"),
            ("assistant", "Green."),
        ],
    ]
    assert all(m.get("weight", 1) == 1 for m in table.rows[2].conversation.messages)
    assert [(p.line, p.code) for p in table.problems] == [
        (4, "empty_assistant"),
        (5, "mixed_formats"),
    ]
    assert (
        "looks like prompt and completion, but the file is read as Alpaca"
        in table.problems[1].message
    )


def test_prompt_completion_rows_become_conversations() -> None:
    table = reader.read_table(FIXTURES / "prompt_completion.jsonl")
    assert table.format == "prompt-completion"
    texts, chat = (row.conversation for row in table.rows)
    assert summarize(texts) == [("user", "The sky is"), ("assistant", " blue.")]
    assert [m.get("weight", 1) for m in chat.messages] == [1, 0, 1, 1], (
        "only the completion is trained on"
    )
    assert (chat.answer, len(chat.prompt)) == ("3", 3)
    assert [(p.line, p.code) for p in table.problems] == [(3, "mixed_formats")]


def test_sharegpt_rows_become_conversations() -> None:
    table = reader.read_table(FIXTURES / "sharegpt.jsonl")
    assert table.format == "sharegpt"
    assert [summarize(row.conversation) for row in table.rows] == [
        [("user", "Hi"), ("assistant", "Hello")],
        [("user", "Bye"), ("assistant", "Farewell")],
    ]
    assert [(p.line, p.code) for p in table.problems] == [(3, "mixed_formats")]


def test_unsupported_format_error_names_format_and_keys(tmp_path: Path) -> None:
    row = {"prompt": "2 + 2?", "completions": ["2 + 2", "= 4"], "labels": [True, True]}
    with pytest.raises(FileProblem) as error:
        reader.read_table(write(tmp_path / "rows.jsonl", [row]))
    assert error.value.code == "unknown_format"
    assert "stepwise" in error.value.message
    assert "completions, labels, prompt" in error.value.message
    assert "as one completion" in error.value.hint


def test_preference_pairs_of_gemini_are_refused_with_what_to_write(tmp_path: Path) -> None:
    parts = {"role": "model", "parts": [{"text": "4"}]}
    row = {
        "contents": [{"role": "user", "parts": [{"text": "2 + 2?"}]}],
        "completions": [{"score": 1.0, "completion": parts}, {"score": 0.0, "completion": parts}],
    }
    with pytest.raises(FileProblem) as error:
        reader.read_table(write(tmp_path / "rows.jsonl", [row]))
    assert "preference pairs of Gemini" in error.value.message
    assert "chosen" in error.value.hint and "rejected" in error.value.hint


def test_conversations_of_moss_are_named_with_what_to_write(tmp_path: Path) -> None:
    turn = {"Human": "<|Human|>: Open?<eoh>", "MOSS": "<|MOSS|>: Until six.<eom>"}
    row = {"meta_instruction": "Be brief.", "num_turns": 1, "chat": {"turn_1": turn}}
    with pytest.raises(FileProblem, match="conversations of MOSS") as error:
        reader.read_table(write(tmp_path / "rows.jsonl", [row]))
    assert "Human is a user message" in error.value.hint and "COLUMN" not in error.value.hint


def test_unknown_format_error_lists_escaped_keys(tmp_path: Path) -> None:
    with pytest.raises(FtwizardError) as error:
        reader.read_table(write(tmp_path / "rows.jsonl", [{"frage\x1b[2J": "?"}, {}]))
    assert "match no known format; their keys: frage␛[2J" in error.value.message


def test_format_errors_mark_null_fields() -> None:
    with pytest.raises(FileProblem) as error:
        parts = [formats.count_formats([{"messages": None, "id": None}]) for _ in range(2)]
        parts[0].merge(parts[1])
        parts[0].merge(formats.count_formats([{"messages": None, "id": 1}]))
        parts[0].decide(HERE)
    assert "their keys: id, messages: null." in error.value.message
    cases: list[tuple[Format, dict[str, Any], str]] = [
        ("openai-chat", {"messages": None}, "no messages (its keys: messages: null)"),
        ("prompt-completion", {**PAIR, "completion": None}, "prompt, completion: null)"),
    ]
    for format, row, text in cases:
        with pytest.raises(RowProblem) as problem:
            formats.to_example(row, format)
        assert text in problem.value.message


def test_mixed_format_message_names_null_fields(tmp_path: Path) -> None:
    rows = [PAIR, PAIR, {**PAIR, "completion": None, "label": None, "id": None}, {"text": "x"}]
    path = write(tmp_path / "rows.jsonl", rows)
    messages = [problem.message for problem in reader.read_table(path).problems]
    why = " (completion and label are null)"
    assert messages == [
        f"it looks like prompts without completions{why}, but the file is read as prompt and completion",
        "it looks like plain text, but the file is read as prompt and completion",
    ]
    findings = run.check_files(path, run.CheckOptions())
    assert [
        finding.message for finding in findings.findings if finding.code == "mixed_formats"
    ] == messages[:1]


def test_few_matching_rows_do_not_determine_the_format() -> None:
    with pytest.raises(FileProblem) as error:
        formats.count_formats([{"frage": "?"}] * 9 + [{"text": "x"}]).decide(HERE)
    assert error.value.code == "unknown_format"
    assert "(1 of 10 rows match one)" in error.value.message
    assert (
        formats.count_formats([{"frage": "?"}] * 4 + [{"text": "x"}] * 5).decide(HERE).format
        == "text"
    )


def test_requested_format_overrides_detection(tmp_path: Path) -> None:
    both = {**CHAT, "prompt": "Hi", "completion": "Yo"}
    path = write(tmp_path / "rows.jsonl", [PAIR, PAIR, both])
    assert reader.read_table(path).format == "prompt-completion"
    assert [p.line for p in reader.read_table(path).problems] == [3]
    table = reader.read_table(path, "openai-chat")
    assert (table.format, [row.line for row in table.rows]) == ("openai-chat", [3])
    assert {p.code for p in table.problems} == {"mixed_formats"}


def test_two_equally_fitting_formats_are_ambiguous(tmp_path: Path) -> None:
    both = {**CHAT, "instruction": "Hi", "output": "Yo"}
    path = write(tmp_path / "rows.jsonl", [both, both, CHAT])
    with pytest.raises(FileProblem) as error:
        reader.read_table(path)
    assert error.value.code == "ambiguous_format"
    assert "openai-chat (chat messages) or as alpaca" in error.value.message
    assert "--format openai-chat or --format alpaca" in error.value.hint
    assert "data.format" in error.value.hint
    assert len(reader.read_table(path, "openai-chat").rows) == 3
    assert len(reader.read_table(path, "alpaca").rows) == 2


def test_equally_many_rows_of_two_formats_are_ambiguous() -> None:
    with pytest.raises(FileProblem) as error:
        formats.count_formats([CHAT, ALPACA, {}]).decide(HERE)
    assert error.value.code == "ambiguous_format"
    assert "Equally many rows" in error.value.message


@pytest.mark.parametrize(
    ("row", "format"),
    [
        ({**CHAT, "label": False}, "kto"),
        ({**PAIR, "label": True}, "kto"),
        ({**ALPACA, "kto_tag": True}, "kto"),
        ({"instruction": "x", "output": ["a", "b"]}, "preference"),
        ({"prompt": "x", "chosen": "a", "rejected": "b"}, "preference"),
        ({**CHAT, "chosen": "a", "rejected": "b"}, "preference"),
        ({**CHAT, "rejected_response": "b"}, "preference"),
        ({**CHAT, "preferred_output": []}, "openai-preference"),
        ({"instruction": "x", "context": "", "response": "y"}, "dolly"),
        ({"input_ids": [1], "messages": []}, "pretokenized"),
        ({"text": "x"}, "text"),
    ],
)
def test_lookalike_rows_in_a_chat_file_are_not_trained_on(
    row: Any, format: Format, tmp_path: Path
) -> None:
    """Otherwise a rejected KTO answer, for example, would be trained on."""
    assert best(row) == {format}
    table = reader.read_table(write(tmp_path / "rows.jsonl", [CHAT, CHAT, row]))
    assert [(p.line, p.code) for p in table.problems] == [(3, "mixed_formats")]
    assert FORMAT_NAMES[format] in table.problems[0].message


def test_each_row_that_cannot_be_trained_on_is_a_problem(tmp_path: Path) -> None:
    table = reader.read_table(write(tmp_path / "rows.jsonl", [{"prompt": "x"}, {"prompt": "y"}]))
    assert (table.format, table.rows) == ("prompt", [])
    assert [(p.line, p.code) for p in table.problems] == [(1, "wrong_kind"), (2, "wrong_kind")]


def test_rows_with_images_are_not_trained_on(tmp_path: Path) -> None:
    shown = {"messages": [{"role": "user", "content": "<image>?"}, CHAT["messages"][1]]}
    path = write(
        tmp_path / "rows.jsonl", [CHAT, {**shown, "images": ["a"]}, {**CHAT, "images": ["a"]}]
    )
    assert [(p.line, p.code) for p in reader.read_table(path).problems] == [
        (2, "content_parts"),
        (3, "image_missing"),
    ]  # fmt: skip
    assert best({**CHAT, "images": []}) == {"openai-chat"}


@pytest.mark.parametrize(("format", "row"), DIALECTS)
def test_every_dialect_is_detected_from_one_row(format: Format, row: Any) -> None:
    assert best(row) == {format}
    assert formats.count_formats([row]).decide(HERE).format == format


@pytest.mark.parametrize("value", [3, "x", None, True, [], [1], [[]], {}, {"a": 1}])
def test_values_without_known_fields_match_no_format(value: Any) -> None:
    assert not best(value)


def test_null_fields_do_not_affect_detection() -> None:
    """Every row of a table has all columns."""
    row = {**CHAT, "chosen": None, "label": None, "input_ids": None, "prompt": None}
    assert best(row) == {"openai-chat"}


def test_top_level_system_means_claude_unless_tools_are_used() -> None:
    system = {"system": "s", **CHAT}
    called = {"messages": [{"role": "tool", "content": "x"}, *CHAT["messages"]]}
    assert formats.count_formats([CHAT, CHAT, system]).decide(HERE).format == "bedrock-claude"
    assert formats.count_formats([called, system, system]).decide(HERE).format == "openai-chat"
    decision = formats.count_formats([CHAT, CHAT]).decide(HERE)
    assert decision.format == "openai-chat"
    assert decision.also == frozenset({"bedrock-claude"})


def test_majority_decides_between_prompts_and_chat_rows() -> None:
    asked = {"messages": CHAT["messages"][:1], "reference": "4"}
    answered = {**CHAT, "reference": "4"}
    assert formats.count_formats([asked, asked, answered]).decide(HERE).format == "prompt"
    assert formats.count_formats([asked, answered, answered]).decide(HERE).format == "openai-chat"
    for row in (asked, answered):
        for format in ("prompt", "openai-chat"):
            formats.check_format(formats.match_formats(row), format, exactly=True)


_rows = st.lists(st.sampled_from([row for _, row in DIALECTS] + [{"a": 1}, 3]), max_size=30)


def try_decide(tally: formats.FormatCounter) -> Any:
    try:
        return tally.decide(HERE)
    except FileProblem as problem:
        return problem.code, problem.message, problem.hint


@given(_rows, st.integers(0, 30), st.randoms())
def test_detection_ignores_row_order_and_file_parts(
    rows: list[Any], cut: int, draw: random.Random
) -> None:
    whole = try_decide(formats.count_formats(rows))
    first, second = formats.count_formats(rows[:cut]), formats.count_formats(rows[cut:])
    first.merge(second)
    assert try_decide(first) == whole
    draw.shuffle(rows)
    assert try_decide(formats.count_formats(rows)) == whole


@given(st.lists(st.sampled_from(["openai-chat", "alpaca", "prompt-completion"]), min_size=1))
def test_format_of_most_rows_wins_and_others_are_problems(kinds: list[Format]) -> None:
    rows = {"openai-chat": CHAT, "alpaca": ALPACA, "prompt-completion": PAIR}
    result = try_decide(formats.count_formats(rows[kind] for kind in kinds))
    counts = sorted(kinds.count(kind) for kind in set(kinds))
    if isinstance(result, tuple):
        assert result[0] == "ambiguous_format" and counts[-1] == counts[-2]
        return
    assert kinds.count(result.format) == counts[-1]
    for kind in kinds:
        looks = formats.match_formats(rows[kind])
        if kind != result.format:
            with pytest.raises(RowProblem):
                formats.check_format(looks, result.format, exactly=True)
        else:
            formats.check_format(looks, kind, exactly=True)
            meaning = to_conversation(formats.to_example(rows[kind], kind))
            assert summarize(meaning) == [("user", "Hi"), ("assistant", "Yo")]


@given(st.lists(st.dictionaries(st.text(max_size=3), st.none(), max_size=5), max_size=300))
def test_format_counter_stays_small_for_many_keys(rows: list[Any]) -> None:
    tally = formats.count_formats([{f"key {n}": n} for n in range(3000)])
    for row in rows:
        tally.add(row)
    assert len(tally.format_keys()) < 12 * 40
