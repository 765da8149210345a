"""Fields of messages written in a way that has one meaning only: roles, weights, tool calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ftwizard.data.example import ROLES, Message
from ftwizard.data.formats import sharegpt
from ftwizard.data.mends.change import Change, shown
from ftwizard.data.mends.places import Path, where
from ftwizard.data.targets import Target

_LISTS = (
    "messages", "conversations", "conversation", "contents", "prompt", "completion", "chosen",
    "rejected", "chosen_messages", "rejected_messages", "preferred_output",
    "non_preferred_output",
)  # fmt: skip
_ROLES = {
    "role": frozenset({*ROLES, "model"}),
    "from": frozenset(sharegpt.ROLES),
}
_WEIGHTS: dict[Any, int] = {"0": 0, "1": 1}


def mend(row: Any, target: Target | None) -> list[Change]:
    """Mend the fields of a row's messages, in their place, and return the changes.

    Mended are roles but for case and blanks, weights that are text or true and false, arguments of
    tool calls in the other of the two forms than ``target`` reads, and OpenAI's older form of
    function calls.
    """
    if not isinstance(row, dict):
        return []
    changes: list[Change] = []
    for messages, path in _lists(row):
        for number, message in enumerate(messages):
            if isinstance(message, dict):
                place = (*path, number)
                changes += _role(message, place)
                changes += _weight(message, place)
        changes += _legacy_calls(messages, path)
        if target is not None and target.arguments != "any":
            changes += _arguments(messages, path, as_text=target.arguments == "text")
    changes += _legacy_functions(row)
    return changes


def _lists(row: dict[str, Any]) -> Iterator[tuple[list[Any], Path]]:
    """Yield every list of messages of a row."""
    for key in _LISTS:
        if isinstance(row.get(key), list):
            yield row[key], (key,)
        elif isinstance(row.get(key), dict):
            yield [row[key]], (key,)
    source = row.get("input")
    if isinstance(source, dict) and isinstance(source.get("messages"), list):
        yield source["messages"], ("input", "messages")


def _role(message: Message, path: Path) -> Iterator[Change]:
    for key, known in _ROLES.items():
        role = message.get(key)
        if isinstance(role, str) and role not in known:
            plain = role.strip().lower()
            if plain in known:
                message[key] = plain
                yield Change("unknown_role", where((*path, key)), f"“{shown(role)}”", plain)


def _weight(message: Message, path: Path) -> Iterator[Change]:
    weight = message.get("weight")
    if isinstance(weight, str):
        number = _WEIGHTS.get(weight.strip())
    elif isinstance(weight, bool | float) and weight in (0, 1):
        number = int(weight)
    else:
        return
    if number is not None:
        message["weight"] = number
        was = json.dumps(weight)
        yield Change("weight", where((*path, "weight")), shown(was), str(number))


def _arguments(messages: list[Any], path: Path, *, as_text: bool) -> Iterator[Change]:
    for number, message in enumerate(messages):
        calls = message.get("tool_calls") if isinstance(message, dict) else None
        for place, call in enumerate(calls if isinstance(calls, list) else []):
            function = call.get("function") if isinstance(call, dict) else None
            if not isinstance(function, dict):
                continue
            given = function.get("arguments")
            name = where((*path, number, "tool_calls", place, "function", "arguments"))
            if as_text and isinstance(given, dict):
                function["arguments"] = json.dumps(given, ensure_ascii=False)
                yield Change("tool_arguments_form", name, "an object", "its JSON text")
            elif not as_text and isinstance(value := _decoded(given), dict):
                function["arguments"] = value
                yield Change("tool_arguments_form", name, "JSON text", "the object")


def _decoded(value: Any) -> Any:
    if not isinstance(value, str):
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _legacy_calls(messages: list[Any], path: Path) -> Iterator[Change]:
    """Write calls of functions as tool calls, and what functions answer as tools' messages."""
    open_call: tuple[str, Any] | None = None
    used = {
        call.get("id")
        for message in messages
        if isinstance(message, dict) and isinstance(message.get("tool_calls"), list)
        for call in message["tool_calls"]
        if isinstance(call, dict) and isinstance(call.get("id"), str)
    }
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            continue
        call = message.get("function_call")
        if isinstance(call, dict) and not message.get("tool_calls"):
            made = next(f"call_{n}" for n in range(1, len(used) + 2) if f"call_{n}" not in used)
            used.add(made)
            del message["function_call"]
            message["tool_calls"] = [{"id": made, "type": "function", "function": call}]
            open_call = made, call.get("name")
            name = where((*path, number, "function_call"))
            yield Change("deprecated", name, "function_call", "tool_calls")
        elif message.get("role") == "function" and open_call is not None:
            made, called = open_call
            if message.get("name") in (None, called):
                message["role"], message["tool_call_id"] = "tool", made
                open_call = None
                name = where((*path, number, "role"))
                yield Change("deprecated", name, "function", f"tool, which answers {made}")


def _legacy_functions(row: dict[str, Any]) -> Iterator[Change]:
    functions = row.get("functions")
    if (
        row.get("tools")
        or not isinstance(functions, list)
        or not functions
        or not all(
            isinstance(each, dict) and isinstance(each.get("name"), str) for each in functions
        )
    ):
        return
    tools = [{"type": "function", "function": each} for each in functions]
    # In the place of the old key, so that the rest of the row stays as it was.
    items = [
        ("tools", tools) if k == "functions" else (k, v) for k, v in row.items() if k != "tools"
    ]
    row.clear()
    row.update(items)
    yield Change("deprecated", "functions", "functions", "tools")
