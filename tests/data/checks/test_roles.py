"""Roles and their order, for each place by its own rules."""

from __future__ import annotations

from typing import Any

import pytest

from ftwizard.data.checks import roles as order
from ftwizard.data.example import Example
from ftwizard.data.platforms import get_target

LETTERS = {"s": "system", "d": "developer", "u": "user", "a": "assistant", "t": "tool", "f": "function"}  # fmt: skip
PICTURE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}
CALLS = {"role": "assistant", "content": None, "tool_calls": [{"id": "x"}]}


def messages(letters: str) -> list[dict[str, Any]]:
    return [{"role": LETTERS[letter], "content": "x"} for letter in letters]


def codes(roles: str | list[dict[str, Any]], to: str, kind: Any = "chat", **more: Any) -> list[str]:
    listed = messages(roles) if isinstance(roles, str) else roles
    row = Example(kind=kind, messages=listed, **more)
    return [result.code for result in order.check(row, get_target(to))]


@pytest.mark.parametrize(
    ("roles", "to", "expected"),
    [
        ("sua", "openai-sft", []),
        ("ua", "openai-sft", []),
        ("dua", "openai-sft", []),
        ("suaua", "together-sft", []),
        ("uata", "openai-sft", []),
        ("uatta", "together-sft", []),
        ("uatau", "trl-sft", ["last_not_assistant"]),
        # the system's place
        ("ssua", "openai-sft", ["system_position"]),
        ("usa", "openai-sft", ["system_position"]),
        ("uasua", "trl-sft", ["system_position"]),
        ("sdua", "trl-sft", ["system_position"]),
        # first
        ("aua", "openai-sft", ["starts_with_assistant"]),
        ("saua", "trl-sft", ["starts_with_assistant"]),
        ("aua", "together-sft", ["first_role"]),
        ("aua", "bedrock-claude", ["first_role"]),
        # last
        ("uau", "openai-sft", ["last_not_assistant"]),
        ("uau", "trl-sft", ["last_not_assistant"]),
        ("uat", "openai-sft", ["last_not_assistant"]),
        ("su", "openai-sft", []),
        # turns
        ("uuaa", "together-sft", ["alternation"]),
        ("uaa", "bedrock-llama", ["alternation"]),
        ("uusa", "together-sft", ["system_position", "alternation"]),
        ("uuaa", "openai-sft", ["consecutive_roles"]),
        ("uaa", "trl-sft", ["consecutive_roles"]),
        # roles and length
        ("dua", "together-sft", ["unknown_role"]),
        ("uafa", "together-sft", ["unknown_role"]),
        ("sa", "bedrock-nova", ["first_role", "too_few_messages"]),
    ],
)
def test_the_order_of_a_conversation(roles: str, to: str, expected: list[str]) -> None:
    assert codes(roles, to) == expected


@pytest.mark.parametrize(
    ("roles", "to", "expected"),
    [
        ("su", "openai-rft", []),
        ("sua", "openai-rft", ["last_not_user"]),
        ("us", "foundry-rft", ["system_position", "last_not_user"]),
        ("uat", "bedrock-rft", ["last_not_user"]),
    ],
)
def test_the_order_of_a_prompt(roles: str, to: str, expected: list[str]) -> None:
    assert codes(roles, to, "prompt") == expected


def test_the_prompt_of_a_pair_does_not_end_with_an_answer() -> None:
    assert codes("ua", "openai-dpo", "preference") == ["last_is_assistant"]
    assert codes("uau", "openai-dpo", "preference") == []
    assert get_target("openai-dpo").severity("last_is_assistant") == "error"
    assert get_target("trl-dpo").severity("last_is_assistant") is None


def test_a_row_that_asks_for_another_method() -> None:
    assert codes("uau", "openai-dpo") == ["wrong_kind"]
    (finding,) = order.check(Example(kind="text", text="x"), get_target("openai-sft"))
    assert "plain text" in finding.message and "a conversation" in finding.message


def test_how_grave_it_is_depends_on_the_place() -> None:
    assert get_target("trl-sft").severity("last_not_assistant") == "warning"
    assert get_target("openai-sft").severity("last_not_assistant") == "error"
    assert get_target("openai-sft").severity("starts_with_assistant") == "warning"
    assert get_target("together-sft").severity("first_role") == "error"


def test_two_messages_of_one_role_that_are_fine() -> None:
    user, answer = messages("ua")
    assert codes([user, PICTURE, answer], "openai-sft") == []
    back = {"role": "tool", "content": "4", "tool_call_id": "x"}
    assert codes([user, answer, CALLS, back, answer], "openai-sft") == []
    assert codes([user, user, answer], "openai-sft") == ["consecutive_roles"]


def test_what_to_write_in_place_of_a_role() -> None:
    (finding,) = order.check(
        Example(kind="chat", messages=messages("dua")), get_target("together-sft")
    )
    assert (
        finding.message
        == "message 1 has the role “developer”, which Together AI (SFT) does not support"
    )
    assert finding.fix == "use system (ftwizard convert DATA --target together-sft does)"


def test_roles_of_the_answers_of_a_pair() -> None:
    more = {"chosen": messages("a"), "rejected": messages("d")}
    assert codes("u", "together-dpo", "preference", **more) == ["unknown_role"]


def test_the_same_roles_for_another_place_are_judged_anew() -> None:
    assert codes("uau", "openai-sft") == ["last_not_assistant"]
    assert codes("uau", "vertex-gemini") == ["last_not_assistant"]
    assert codes("aua", "vertex-gemini") == ["starts_with_assistant"]
    assert codes("aua", "bedrock-nova") == ["first_role"]
