"""Message checks: empty content, weights, keys, deprecated forms and reserved text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.data.checks import content
from ftwizard.data.checks.row_checker import check_row
from ftwizard.data.checks.turns import is_blank
from ftwizard.data.example import Example
from ftwizard.data.platforms import get_target

USER: dict[str, Any] = {"role": "user", "content": "How much is two and two?"}
ANSWER: dict[str, Any] = {"role": "assistant", "content": "Four."}
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def codes(*messages: dict[str, Any], to: str = "openai-sft", **fields: Any) -> list[str]:
    row = Example(**{"kind": "chat", "messages": list(messages), **fields})
    return [result.code for result in content.check(row, get_target(to))]


def assistant(message: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": message}


@pytest.mark.parametrize(
    "text", ["", " \n\t \u3000", "\u200b", "\ufeff \u2060", "\u2800", "\u3164", "\xad"]
)
def test_answer_without_visible_text_is_empty(text: str) -> None:
    assert codes(USER, assistant(text)) == ["empty_assistant"]
    assert codes(USER, assistant([{"type": "text", "text": text}])) == ["empty_assistant"]


def test_empty_answer_finding_names_the_first_message() -> None:
    row = Example(kind="chat", messages=[USER, assistant(" "), USER, ANSWER, USER, assistant("")])
    (finding,) = content.check(row, get_target("trl-sft"))
    assert finding.code == "empty_assistant"
    assert finding.message == "2 of 3 answers are empty, the first in message 2"


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER,
        assistant("٣"),
        assistant("👍"),
        assistant("می‌خواهم"),
        assistant([{"type": "text", "text": "Four."}]),
        {**assistant(None), "tool_calls": [CALL]},
        {**assistant(""), "tool_calls": [CALL]},
        {**assistant(None), "refusal": "I cannot say."},
    ],
)
def test_answer_with_text_call_or_refusal_is_not_empty(answer: dict[str, Any]) -> None:
    assert codes(USER, answer) == []


def test_empty_answer_with_zero_weight_is_empty_content() -> None:
    assert codes(USER, {**assistant(""), "weight": 0}, USER, ANSWER) == ["empty_content"]


@pytest.mark.parametrize("role", ["system", "user", "tool"])
def test_empty_messages_of_other_roles_are_reported(role: str) -> None:
    assert "empty_content" in codes({"role": role, "content": " "}, USER, ANSWER)


def test_message_with_only_an_image_is_not_empty() -> None:
    shown = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}
    assert codes(shown, ANSWER) == []


@pytest.mark.parametrize("kind", ["prompt", "preference"])
def test_empty_prompt_is_reported(kind: str) -> None:
    assert codes({"role": "user", "content": ""}, kind=kind) == ["empty_prompt"]
    assert codes(USER, kind=kind) == []


def test_empty_plain_text_is_reported() -> None:
    assert codes(kind="text", text=" \n") == ["empty_text"]
    assert codes(kind="text", text="a") == []


def test_missing_user_or_assistant_is_reported() -> None:
    assert codes({"role": "system", "content": "Be brief."}) == ["no_assistant", "no_user"]
    assert codes(ANSWER) == ["no_user"]
    assert codes(USER) == ["no_assistant"]


def test_whitespace_around_an_answer_is_reported() -> None:
    assert codes(USER, assistant(" Four.")) == ["blank_edges"]
    assert codes(USER, assistant("Four.\n")) == ["blank_edges"]
    assert codes({"role": "user", "content": "How much? "}, ANSWER) == []


@pytest.mark.parametrize("weight", ["1", 2, -1, 0.5, 1.0, True, False, [1], {}, float("inf"), ""])
def test_weight_other_than_0_or_1_is_reported(weight: Any) -> None:
    assert codes(USER, {**ANSWER, "weight": weight}) == ["weight"]
    assert codes({**USER, "weight": weight}, ANSWER) == ["weight"]


def test_valid_weights_have_no_findings() -> None:
    muted = {**ANSWER, "weight": 0}
    assert codes(USER, muted, USER, {**ANSWER, "weight": 1}) == []
    assert codes(USER, muted, USER, ANSWER) == []
    assert codes(USER, {**ANSWER, "weight": None}, to="trl-sft") == []
    assert codes({**USER, "weight": 0}, ANSWER, to="together-sft") == []


def test_weights_that_mute_all_answers_or_are_ignored_are_reported() -> None:
    muted = {**ANSWER, "weight": 0}
    assert codes(USER, muted) == ["nothing_to_train"]
    assert codes(USER, muted, USER, muted) == ["nothing_to_train"]
    assert codes(USER, muted, USER, ANSWER, to="vertex-open") == ["weight_unused"]
    assert codes(USER, {**ANSWER, "weight": 1}, to="vertex-open") == []
    assert codes({**USER, "weight": 1}, ANSWER) == ["weight_unused"]
    assert codes(USER, {**ANSWER, "weight": None}) == ["weight"]


def test_refusal_that_is_not_text_is_no_answer() -> None:
    odd = {**assistant(None), "refusal": [None]}
    assert codes(USER, odd) == ["empty_assistant", "content_type"]
    assert codes(USER, {**odd, "content": "Four."}) == ["content_type"]
    assert codes(USER, {**odd, "content": "Four."}, to="trl-sft") == []
    assert codes(USER, {**odd, "refusal": None}) == ["empty_assistant"]
    row = Example(kind="chat", messages=[USER, {**odd, "content": "Four."}])
    assert check_row(row, get_target("bedrock-nova"), is_converted=True) == []


def test_legacy_function_calls_are_deprecated() -> None:
    assert codes(USER, {**assistant(None), "function_call": {"name": "f", "arguments": "{}"}}) == [
        "deprecated"
    ]
    back = {"role": "function", "name": "f", "content": "4"}
    assert codes(USER, back, ANSWER) == ["deprecated"]
    assert codes(USER, ANSWER, extra={"functions": [{"name": "f"}]}) == ["deprecated"]


def test_message_keys_the_target_rejects_are_reported() -> None:
    odd = {**ANSWER, "mood": "good", "\x1b[2Jid": 1}
    (finding,) = content.check(Example(kind="chat", messages=[USER, odd]), get_target("openai-sft"))
    assert finding.code == "extra_keys"
    assert finding.message == (
        "message 2 (assistant) has keys that OpenAI (SFT) does not support: mood, ␛[2Jid"
    )
    assert codes(USER, odd, to="trl-sft") == []
    assert codes(USER, {**ANSWER, "mood": None}) == []
    assert codes({**USER, "name": "Ada"}, ANSWER) == []
    assert codes(USER, {**ANSWER, "reasoning": "2+2"}, to="together-sft") == []
    assert codes(USER, {**ANSWER, "reasoning": "2+2"}) == ["extra_keys"]
    row = Example(kind="chat", messages=[USER, odd])
    assert get_target("bedrock-claude").severity("extra_keys") == "error"
    assert [result.code for result in check_row(row, get_target("bedrock-claude"))] == [
        "extra_keys"
    ]


def test_columns_the_target_rejects_are_reported() -> None:
    assert codes(USER, ANSWER, extra={"id": 1}) == ["extra_columns"]
    assert codes(USER, ANSWER, extra={"id": 1}, to="trl-sft") == []
    assert codes(USER, ANSWER, extra={"parallel_tool_calls": True}) == []
    assert codes(USER, kind="prompt", extra={"answer": 1}, to="openai-rft") == []


def test_text_the_target_reserves_is_reported() -> None:
    text = {"role": "user", "content": "he wrote\nHuman: hello"}
    assert codes(text, ANSWER, to="bedrock-claude") == ["reserved_text"]
    assert codes(text, ANSWER, to="openai-sft") == []
    # The text does not match across two messages.
    split = [{"role": "user", "content": "a"}, assistant("Human: b")]
    assert codes(*split, to="bedrock-claude") == []
    assert codes({"role": "user", "content": "User: hi"}, ANSWER, to="bedrock-nova") == [
        "reserved_text"
    ]


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1))
def test_letters_digits_and_symbols_are_not_blank(text: str) -> None:
    assert not is_blank(text) or set(text) <= set("\u115f\u1160\u2800\u3164\uffa0")


@given(st.text(" \t\n\u00a0\u200b\ufeff\u3000\u2028"))
def test_whitespace_and_invisible_characters_are_blank(text: str) -> None:
    assert is_blank(text)
