"""Tool calls and their arguments, in the forms that targets need."""

from __future__ import annotations

from typing import Any

import msgspec

from ftwizard.data.conversation import RowProblem
from ftwizard.data.quoted import quoted
from ftwizard.data.writers.turns import Call, Turn


def to_openai_calls(turn: Turn, *, as_text: bool) -> list[dict[str, Any]]:
    """Return ``tool_calls`` with arguments as JSON text or objects; raise RowProblem."""
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {
                "name": call.name,
                "arguments": format_arguments(call, turn)
                if as_text
                else parse_arguments(call, turn),
            },
        }
        for call in turn.calls
    ]


def parse_arguments(call: Call, turn: Turn) -> dict[str, Any]:
    """Return the arguments of a call as an object; raise RowProblem for invalid JSON."""
    if isinstance(call.arguments, dict):
        return call.arguments
    try:
        value = msgspec.json.decode(call.arguments or "{}")
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        value = None
    if not isinstance(value, dict):
        raise RowProblem(
            "tool_arguments",
            f"{turn.label}: the arguments of “{quoted(call.name, 40)}” are not a JSON object",
            "fix them, or write them as an object",
        )
    return value


def format_arguments(call: Call, turn: Turn) -> str:
    """Return the arguments of a call as JSON text; raise RowProblem if they are not an object."""
    value = parse_arguments(call, turn)
    if isinstance(call.arguments, str) and call.arguments:
        return call.arguments
    return msgspec.json.encode(value).decode()


def require_call(turn: Turn) -> Call:
    """Return the call that a tool message answers; raise RowProblem if there is none."""
    if turn.answers is None:
        raise RowProblem(
            "tool_orphan",
            f"{turn.label} is a tool result without a preceding call",
            "set tool_call_id to the id of its call, or delete it",
        )
    return turn.answers
