"""What the readers of all formats have in common: the fields of a row, and what is wrong with one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any

import msgspec

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Message
from ftwizard.data.quoted import quoted

_KINDS = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
}
NO_JSON = object()
"""What ``decoded`` returns for text that is no JSON."""


def as_object(row: Any) -> Message:
    """Return ``row`` if it is a JSON object; raise RowProblem."""
    if not isinstance(row, dict):
        raise RowProblem("not_object", "not a JSON object", "one object a line")
    return row


def keys_of(row: Message) -> str:
    """Say which keys a row has, and which of them hold nothing: ``its keys: a, b: null``."""
    shown = [
        quoted(str(key), 20) + (": null" if value is None else "")
        for key, value in islice(row.items(), 5)
    ]
    return "its keys: " + (", ".join(shown) or "none")


def kind_of(value: Any) -> str:
    """Say what a value is, in words: ``a number``, ``text``, ``an object``."""
    return _KINDS.get(type(value), type(value).__name__)


def text(row: Message, key: str) -> str:
    """Return a text of the row, empty where there is none; raise RowProblem for what is no text."""
    value = row.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowProblem("content_type", f"{key} is {kind_of(value)}, not text", "write it as text")
    return value


def first_of(row: Message, keys: Iterable[str]) -> str | None:
    """Return the first of ``keys`` that the row has a value for."""
    for key in keys:
        if row.get(key) is not None:
            return key
    return None


def extra(row: Message, known: AbstractSet[str]) -> dict[str, Any]:
    """Return the fields of a row besides those that are ``known``."""
    if row.keys() <= known:
        return {}
    return {key: value for key, value in row.items() if key not in known}


def decoded(value: str) -> Any:
    """Return what a JSON text holds, ``NO_JSON`` if it is none."""
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return NO_JSON


def as_text(value: Any) -> str:
    """Return a JSON value as text: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def with_system(messages: list[Message], system: Any) -> list[Message]:
    """Return the messages with the system prompt that stood beside them as the first.

    Raises RowProblem.
    """
    if system is None or system == "":
        return messages
    if not isinstance(system, str):
        raise RowProblem("system_type", f"system is {kind_of(system)}", "write it as text")
    return led_by({"role": "system", "content": system}, messages)


def led_by(system: Message, messages: list[Message]) -> list[Message]:
    """Return the messages after ``system``, unless they begin with the same; raise RowProblem."""
    if messages and messages[0]["role"] in ("system", "developer"):
        if messages[0]["content"] == system["content"]:
            return messages
        raise RowProblem(
            "system_conflict",
            "system stands beside the messages and in them, differently",
            "keep one of them",
        )
    return [system, *messages]


def tools(value: Any) -> list[dict[str, Any]] | None:
    """Return the schemas of tools, a list of objects or its JSON text; raise RowProblem."""
    if isinstance(value, str) and value:
        value = decoded(value)
        if value is NO_JSON:
            raise RowProblem("tools", "tools is no JSON", "list their schemas")
    if value is None or value == "" or value == []:
        return None
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        raise RowProblem("tools", "tools is no list of objects", "list their schemas")
    return value


def as_functions(schemas: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """Return schemas that only describe a function (name, parameters) as OpenAI wraps them."""
    if schemas is None:
        return None
    return [
        {"type": "function", "function": schema}
        if "name" in schema and "function" not in schema
        else schema
        for schema in schemas
    ]


def exchange(prompt: str, answer: str) -> list[Message]:
    """Return what a user says and what is answered."""
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def history(value: Any) -> list[Message]:
    """Return earlier turns, written as a list of [user, assistant] pairs; raise RowProblem."""
    if value is None or value == "" or value == []:
        return []
    pairs = value if isinstance(value, list) else [value]
    messages: list[Message] = []
    for number, pair in enumerate(pairs, 1):
        texts = pair if isinstance(pair, list) else []
        if len(texts) != 2 or not all(isinstance(one, str) for one in texts):
            raise RowProblem(
                "history",
                f"pair {number} of history is not [user, assistant], two texts",
                "correct it, or leave history out",
            )
        messages += exchange(*texts)
    return messages
