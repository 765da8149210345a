"""Messages taken apart once, so that every writer puts the same things together in its own way."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import ROLES, Message
from ftwizard.data.quoted import quoted
from ftwizard.data.writers.losses import Losses
from ftwizard.data.writers.parts import Part, Text, Thought, beside_texts, parts_of

REASONING = ("reasoning_content", "reasoning", "thinking")
_KNOWN = {
    *("role", "content", "tool_calls", "function_call", "tool_call_id", "name", "weight"),
    *("refusal", *REASONING),
}


class Call(NamedTuple):
    """A tool called by an answer."""

    id: str
    """Its own, or one made up where the row has none: answers of tools are matched by it."""
    name: str
    arguments: dict[str, Any] | str
    """As the row has them: an object or its JSON text."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One message."""

    place: str
    """As a problem names it: ``message 3``."""
    role: str
    """One of ``ROLES`` but ``function``, which is ``tool`` here."""
    parts: list[Part]
    as_list: bool
    """Whether its content was written as a list of parts."""
    calls: list[Call]
    answers: Call | None
    """Of a tool's message, the call that it answers; None where there is none."""
    tool_call_id: str | None
    """As the row has it."""
    name: str | None
    weight: int | None
    reasoning: tuple[str, str] | None
    """The key it stood under, and the text."""
    refusal: str | None
    """Of an answer that refuses, as OpenAI has it beside the content."""
    extra: list[str]
    """Keys of the message, and of its texts, that mean nothing here."""
    source: Message
    """The message itself."""

    @property
    def text(self) -> str:
        """Return the text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


def turns(messages: list[Message], losses: Losses, name: str = "message") -> list[Turn]:
    """Return each message taken apart; ``name`` is what problems call one.

    Legacy function calls are tool calls, and calls without an id get one. Raises RowProblem for a
    message that no target could take.
    """
    taken = [_Taken(message, f"{name} {number}") for number, message in enumerate(messages, 1)]
    if any(one.is_legacy for one in taken):
        losses.say(
            "deprecated",
            "it calls functions in OpenAI's older form (function_call): written as tool calls",
            "nothing is to be done",
        )
    used = {raw["id"] for one in taken for raw in one.calls if isinstance(raw.get("id"), str)}
    return _matched(taken, used)


def has_tools(turn: Turn) -> bool:
    """Tell whether a message calls tools or comes from one."""
    return bool(turn.calls) or turn.role == "tool"


class _Taken:
    """A message, looked through."""

    def __init__(self, message: Any, place: str) -> None:
        if not isinstance(message, dict):
            raise RowProblem("message_type", f"{place} is no object", "give it role and content")
        role = message.get("role")
        if role not in ROLES:
            raise RowProblem(
                "unknown_role" if isinstance(role, str) else "role_type",
                f"{place} has the role “{quoted(str(role), 30)}”",
                f"write one of {', '.join(ROLES[:4])}, tool",
            )
        self.message, self.place = message, place
        self.role: str = "tool" if role == "function" else role
        self.calls = _raw_calls(message, place)
        if self.calls and self.role != "assistant":
            raise RowProblem(
                "tool_call",
                f"{place} calls a tool, and it is the {self.role}'s",
                "give the call to an assistant's message",
            )
        self.is_legacy = role == "function" or isinstance(message.get("function_call"), dict)

    def turn(self, calls: list[Call], answers: Call | None) -> Turn:
        message = self.message
        content = message.get("content")
        refusal = _text(message, "refusal")
        if content is None and not calls and refusal is None:
            raise RowProblem("missing_content", f"{self.place} has no content", "write it as text")
        parts = parts_of(content, self.place)
        thoughts = "".join(part.text for part in parts if isinstance(part, Thought))
        extra = [str(k) for k, v in message.items() if k not in _KNOWN and v is not None]
        return Turn(
            place=self.place,
            role=self.role,
            parts=[part for part in parts if not isinstance(part, Thought)],
            as_list=isinstance(content, list),
            calls=calls,
            answers=answers,
            tool_call_id=_text(message, "tool_call_id"),
            name=_text(message, "name"),
            weight=_weight(message, self.place),
            reasoning=(REASONING[0], thoughts) if thoughts else _reasoning(message),
            refusal=refusal,
            extra=[*extra, *beside_texts(content)],
            source=message,
        )


def _matched(taken: list[_Taken], used: set[str]) -> list[Turn]:
    """Match the tools' messages with the calls they answer, by id, else by name, else in order."""
    found: list[Turn] = []
    open_calls: list[Call] = []
    for one in taken:
        calls: list[Call] = []
        answers: Call | None = None
        if one.role == "tool":
            answers = _answered(one.message, open_calls)
            if answers is not None:
                open_calls.remove(answers)
        elif one.calls:
            calls = [_call(raw, one.place, used) for raw in one.calls]
            open_calls = list(calls)
        found.append(one.turn(calls, answers))
    return found


def _answered(message: Message, open_calls: list[Call]) -> Call | None:
    wanted, name = _text(message, "tool_call_id"), _text(message, "name")
    if wanted is not None:
        return next((call for call in open_calls if call.id == wanted), None)
    named = (call for call in open_calls if call.name == name)
    return next(named, open_calls[0] if open_calls and name is None else None)


def _raw_calls(message: Message, place: str) -> list[dict[str, Any]]:
    calls = message.get("tool_calls")
    if calls is None:
        legacy = message.get("function_call")
        calls = [{"function": legacy}] if isinstance(legacy, dict) else []
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise RowProblem(
            "tool_call", f"{place}: tool_calls is no list of objects", "list the calls"
        )
    return calls


def _call(raw: dict[str, Any], place: str, used: set[str]) -> Call:
    function = raw.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name:
        raise RowProblem(
            "tool_call",
            f"{place}: a tool call names no function",
            "write it as {id, type: function, function: {name, arguments}}",
        )
    arguments = function.get("arguments")
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict | str):
        raise RowProblem(
            "tool_arguments",
            f"{place}: the arguments of “{quoted(name, 40)}” are no JSON object",
            "write them as an object",
        )
    given = raw.get("id")
    return Call(given if isinstance(given, str) and given else _new_id(used), name, arguments)


def _new_id(used: set[str]) -> str:
    number = 1
    while (made := f"call_{number}") in used:
        number += 1
    used.add(made)
    return made


def _text(message: Message, key: str) -> str | None:
    value = message.get(key)
    return value if isinstance(value, str) and value else None


def _weight(message: Message, place: str) -> int | None:
    weight = message.get("weight")
    if weight is None:
        return None
    if isinstance(weight, bool) or weight not in (0, 1):
        raise RowProblem("weight", f"{place} has a weight other than 0 or 1", "write 0 or 1")
    return int(weight)


def _reasoning(message: Message) -> tuple[str, str] | None:
    for key in REASONING:
        if isinstance(value := message.get(key), str) and value:
            return key, value
    return None
