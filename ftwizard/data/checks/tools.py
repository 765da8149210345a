"""Tool calls: their form, what they pass against what the tools declare, and their answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ftwizard.data.checks import schemas
from ftwizard.data.checks.found import Found
from ftwizard.data.checks.turns import listed, name_in
from ftwizard.data.example import Example, Message
from ftwizard.data.quoted import quoted
from ftwizard.data.targets import Target
from ftwizard.text import plural

_PLAIN_KEYS = 2
_RESULTS = ("tool", "function")


def check(example: Example, target: Target) -> Iterator[Found]:
    """Yield what is wrong with the tools of a row and with the calls of them."""
    prompt = listed(example.messages)
    ends = [listed(example.chosen), listed(example.rejected)]
    turns = [*prompt, *ends[0], *ends[1]] if ends[0] or ends[1] else prompt
    calling = [
        (number, message) for number, message in enumerate(turns, 1)
        if len(message) > _PLAIN_KEYS and message.get("tool_calls") not in (None, [])
    ]  # fmt: skip
    answered = any(message.get("role") in _RESULTS for message in turns)
    if not calling and not answered and not example.tools:
        return
    if not target.tools:
        yield Found(
            "tools_unsupported",
            f"the row has tools; {target.words} does not train on calls of them",
            "leave such rows out, or choose a target that takes them",
        )
        if target.severity("tools_unsupported") == "error":
            return
    found, names = schemas.of_tools(example.tools, strict=target.hosted)
    yield from found
    if calling and not example.tools:
        yield Found(
            "tools_missing",
            "tools are called, and the row declares none",
            "list their schemas under tools: the model learns to call only what it is shown",
        )
    legacy = any(message.get("function_call") for message in turns)
    if names and not calling and not legacy and example.kind != "prompt":
        yield Found(
            "unused_tools",
            f"{plural(len(names), 'tool')} declared, none called",
            "nothing, if the row is to teach when no tool is needed",
        )
    for number, message in calling:
        where = name_in(example, number, message)
        if message.get("role") != "assistant":
            yield Found(
                "tool_call",
                f"{where} calls tools, and is not the assistant's",
                "let the assistant's messages call tools",
            )
        yield from _of_message(message["tool_calls"], where, names, target)
    for end in ends if ends[0] or ends[1] else [[]]:
        yield from _answers([*prompt, *end], target)


def _of_message(
    calls: Any, where: str, names: dict[str, schemas.Parameters | None], target: Target
) -> Iterator[Found]:
    if not isinstance(calls, list):
        yield Found("tool_call", f"{where}: tool_calls is no list", "list the calls")
        return
    ids: set[str] = set()
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            yield Found(
                "tool_call",
                f"{where}: a tool call names no function",
                "write it as {id, type, function: {name, arguments}}",
            )
            continue
        name = function["name"]
        if call.get("type", None if target.call_ids else "function") != "function":
            yield Found(
                "tool_call",
                f"{where}: the call of {quoted(name, 40)} is not of the type function",
                'write "type": "function" in it',
            )
        yield from _id(call.get("id"), ids, where, name, target)
        if names and name not in names:
            known = ", ".join(quoted(one, 40) for one in list(names)[:3])
            yield Found(
                "tool_name",
                f"{where} calls {quoted(name, 40)}, which is not among the row's tools ({known})",
                "declare it under tools, or correct the name",
            )
        yield from _arguments(function.get("arguments"), where, name, names.get(name), target)


def _id(value: Any, seen: set[str], where: str, name: str, target: Target) -> Iterator[Found]:
    if isinstance(value, str) and value:
        if value in seen:
            yield Found(
                "tool_call_id",
                f"{where}: two calls have the id {quoted(value, 40)}",
                "give each call an id of its own, and its answer the same",
            )
        seen.add(value)
    elif target.call_ids or value is not None:
        yield Found(
            "tool_call_id",
            f"{where}: the call of {quoted(name, 40)} has no id"
            if value is None
            else f"{where}: the id of the call of {quoted(name, 40)} is no text",
            "give each call an id, a text, and its answer the same as tool_call_id",
        )


def _arguments(
    value: Any, where: str, name: str, parameters: schemas.Parameters | None, target: Target
) -> Iterator[Found]:
    shown = f"{where}: the arguments of {quoted(name, 40)}"
    wanted = target.arguments
    if value is None or value == "":
        if wanted == "text":
            yield Found("tool_arguments", f"{shown} are missing", 'write "{}" where there are none')
        value = {}
    elif isinstance(value, str):
        if wanted == "object":
            yield Found("tool_arguments_form", f"{shown} are JSON text", "write the object itself")
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            yield Found(
                "tool_arguments",
                f"{shown} are no JSON",
                "write them with a JSON library: quotes are double, names true, false and null",
            )
            return
    elif wanted == "text" and isinstance(value, dict):
        yield Found("tool_arguments_form", f"{shown} are an object", "write it as JSON text")
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else "one value"
        yield Found("tool_arguments", f"{shown} are {kind}, not an object", "name each: {…}")
    elif parameters is not None and (wrong := schemas.mismatch(value, parameters)):
        yield Found(
            "tool_schema_mismatch",
            f"{shown} are not as declared: {wrong}",
            "correct the call, or what the tool declares",
        )


def _answers(turns: list[Message], target: Target) -> Iterator[Found]:
    """Yield calls that nothing answers and answers to no call.

    A message of calls that ends the row is what is to be learnt, and has no answers yet.
    """
    waiting: list[Any] = []
    """Ids of the calls made last and not answered yet; None for one without."""
    legacy = False
    for number, message in enumerate(turns, 1):
        role = message.get("role")
        if role in _RESULTS:
            if role == "function" and legacy:
                continue
            yield from _result(message, number, waiting, target)
            continue
        if waiting:
            yield _unanswered(waiting, number)
        waiting = _ids(message.get("tool_calls"))
        legacy = legacy or bool(message.get("function_call"))
    if waiting and turns[-1].get("role") in _RESULTS:
        yield _unanswered(waiting, None)


def _result(message: Message, number: int, waiting: list[Any], target: Target) -> Iterator[Found]:
    wanted = message.get("tool_call_id")
    if wanted is None and target.call_ids and message.get("role") == "tool":
        yield Found(
            "tool_call_id",
            f"message {number} (tool) does not say which call it answers",
            "give it the id of the call as tool_call_id",
        )
    if wanted in waiting:
        waiting.remove(wanted)
    elif waiting and (wanted is None or None in waiting):
        waiting.pop(waiting.index(None) if None in waiting else 0)
    else:
        of = "" if wanted is None else f" of the id {quoted(str(wanted), 40)}"
        yield Found(
            "tool_orphan",
            f"message {number} ({message.get('role')}) answers a call{of}, and there is none "
            "before it",
            "put it after the message that calls the tool, with the same id",
        )


def _unanswered(waiting: list[Any], before: int | None) -> Found:
    ids = ", ".join(quoted(str(one), 40) for one in waiting[:3] if one is not None)
    where = "the row ends" if before is None else f"message {before} follows"
    return Found(
        "tool_unanswered",
        f"{where}, and {plural(len(waiting), 'tool call')} {'has' if len(waiting) == 1 else 'have'}"
        f" no answer{f' ({ids})' if ids else ''}",
        "put a message of the role tool after the call, with what the tool answered",
    )


def _ids(calls: Any) -> list[Any]:
    if not isinstance(calls, list):
        return []
    return [call.get("id") if isinstance(call, dict) else None for call in calls]
