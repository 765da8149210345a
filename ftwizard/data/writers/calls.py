"""Tool calls, written as OpenAI writes them or as parts of their own."""

from __future__ import annotations

from typing import Any

import msgspec

from ftwizard.data.conversation import RowProblem
from ftwizard.data.quoted import quoted
from ftwizard.data.writers.turns import Call, Turn


def openai_calls(turn: Turn, *, as_text: bool) -> list[dict[str, Any]]:
    """Return ``tool_calls`` with the arguments as JSON text or as objects; raise RowProblem."""
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {
                "name": call.name,
                "arguments": arguments_text(call, turn)
                if as_text
                else arguments_object(call, turn),
            },
        }
        for call in turn.calls
    ]


def arguments_object(call: Call, turn: Turn) -> dict[str, Any]:
    """Return the arguments of a call as an object; raise RowProblem for text that is none."""
    if isinstance(call.arguments, dict):
        return call.arguments
    try:
        value = msgspec.json.decode(call.arguments or "{}")
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        value = None
    if not isinstance(value, dict):
        raise RowProblem(
            "tool_arguments",
            f"{turn.place}: the arguments of “{quoted(call.name, 40)}” are no JSON object",
            "correct them, or write them as an object",
        )
    return value


def arguments_text(call: Call, turn: Turn) -> str:
    """Return the arguments of a call as JSON text; raise RowProblem for text that is no object."""
    value = arguments_object(call, turn)
    if isinstance(call.arguments, str) and call.arguments:
        return call.arguments
    return msgspec.json.encode(value).decode()


def answered(turn: Turn) -> Call:
    """Return the call that a tool's message answers; raise RowProblem where there is none."""
    if turn.answers is None:
        raise RowProblem(
            "tool_orphan",
            f"{turn.place} is a tool's answer, and no call before it waits for one",
            "give it the tool_call_id of its call, or take it out",
        )
    return turn.answers
