"""Messages parsed into turns and parts, the common input of all writers."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from ftwizard.data.checks.roles import can_merge
from ftwizard.data.example import ROLES, Message, RowProblem, get_thought
from ftwizard.data.findings import RowFinding
from ftwizard.data.platforms import Target
from ftwizard.data.privacy.quote import quote

REASONING = ("reasoning_content", "reasoning", "thinking")
_KNOWN_KEYS = {
    *("role", "content", "tool_calls", "function_call", "tool_call_id", "name", "weight"),
    *("refusal", *REASONING),
}
_SHOWN_KEYS = 5


class ConversionNotes:
    """Notes on what a row loses, or has changed, in conversion; at most one per code."""

    def __init__(self) -> None:
        self._by_code: dict[str, RowFinding] = {}

    @property
    def findings(self) -> list[RowFinding]:
        """Return the notes in order."""
        return list(self._by_code.values())

    def note(self, code: str, message: str, fix: str = "no action needed") -> None:
        """Note a loss that does not prevent writing the row."""
        self._by_code.setdefault(code, RowFinding(code, message, fix))

    def note_dropped(self, keys: list[str], target: Target) -> None:
        """Note dropped fields."""
        if keys:
            shown = ", ".join(f"“{quote(key, 30)}”" for key in keys[:_SHOWN_KEYS])
            if (more := len(keys) - _SHOWN_KEYS) > 0:
                shown += f" and {more:,} more"
            message = f"{target.words} does not support {shown}: dropped"
            self.note("extra_keys", message, "no action needed unless the field matters")


class Text(NamedTuple):
    """A text part."""

    text: str


class Image(NamedTuple):
    """An image part."""

    url: str
    """Its address, or a data URL."""
    detail: dict[str, Any]
    """Fields next to the URL, such as OpenAI's ``detail``."""
    more: dict[str, Any]
    """Other fields of the part, such as ``format``, ``media_type`` or ``bucketOwner``."""


class OtherPart(NamedTuple):
    """Any other part: audio, video, a document, …"""

    type: str
    value: dict[str, Any]


class ThoughtPart(NamedTuple):
    """A reasoning part of an answer."""

    text: str


Part = Text | Image | OtherPart


class Call(NamedTuple):
    """A tool call in an answer."""

    id: str
    """Its id, generated if the row has none; tool results are matched by it."""
    name: str
    arguments: dict[str, Any] | str
    """As in the row: an object or its JSON text."""


class ParsedTurn(msgspec.Struct, frozen=True, kw_only=True):
    """One message."""

    label: str
    """Its name in problems, such as ``message 3``."""
    role: str
    """One of ``ROLES`` except ``function``, which becomes ``tool``."""
    parts: list[Part]
    as_list: bool
    """Whether the row has its content as a list of parts."""
    calls: list[Call]
    answers: Call | None
    """The call that a tool message answers; None if there is none."""
    name: str | None
    weight: int | None
    reasoning: tuple[str, str] | None
    """Its key and its text."""
    refusal: str | None
    """OpenAI's ``refusal`` field of an answer."""
    extra: list[str]
    """Unknown keys of the message and of its text parts."""
    source: Message
    """The original message."""

    @property
    def text(self) -> str:
        """Return the joined text parts."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


def parse_turns(
    messages: list[Message], notes: ConversionNotes, name: str = "message"
) -> list[ParsedTurn]:
    """Parse messages into turns; problems call them ``name`` and their number.

    Legacy function calls become tool calls, and calls without an id get one. Raises RowProblem for a
    message that is invalid for every target.
    """
    labels = [f"{name} {number}" for number in range(1, len(messages) + 1)]
    raw_calls = [_check_message(*labeled) for labeled in zip(messages, labels, strict=True)]
    if any(m["role"] == "function" or isinstance(m.get("function_call"), dict) for m in messages):
        notes.note("deprecated", "function_call is OpenAI's legacy format: converted to tool calls")
    ids = (call.get("id") for calls in raw_calls for call in calls)
    used = {call_id for call_id in ids if isinstance(call_id, str)}
    turns: list[ParsedTurn] = []
    open_calls: list[Call] = []
    for message, label, raw in zip(messages, labels, raw_calls, strict=True):
        answers = _take_call(message, open_calls) if _get_role(message) == "tool" else None
        calls = [_parse_call(call, label, used) for call in raw]
        open_calls = list(calls) or open_calls
        turns.append(_parse_turn(message, label, calls, answers))
    return turns


def merge_repeated(turns: list[ParsedTurn], notes: ConversionNotes) -> list[ParsedTurn]:
    """Merge messages of one speaker that follow each other, with a blank line between their texts.

    Those that do not mean the same as one message stay as they are (see ``roles.can_merge``).
    """
    merged: list[ParsedTurn] = []
    for turn, before in zip(turns, [None, *turns], strict=False):
        if before is None or not can_merge(before.source, turn.source):
            merged.append(turn)
            continue
        notes.note(
            "merged",
            f"{before.label} and {turn.label} are both of the {turn.role}: merged, with a blank line "
            "between them",
            "no action needed unless a message is missing between them",
        )
        first = merged[-1]
        merged[-1] = msgspec.structs.replace(
            first, parts=_join_parts(first.parts, turn.parts), calls=turn.calls,
            as_list=first.as_list or turn.as_list, extra=[*first.extra, *turn.extra],
        )  # fmt: skip
    return merged


def _join_parts(first: list[Part], second: list[Part]) -> list[Part]:
    if first and second and isinstance(first[-1], Text) and isinstance(second[0], Text):
        texts = filter(None, (first[-1].text, second[0].text))
        return [*first[:-1], Text("\n\n".join(texts)), *second[1:]]
    return [*first, *second]


def _get_role(message: Message) -> str:
    return "tool" if message["role"] == "function" else str(message["role"])


def _check_message(message: Any, label: str) -> list[dict[str, Any]]:
    """Return the calls of a message; raise RowProblem for an invalid one."""
    if not isinstance(message, dict):
        raise RowProblem(
            "message_type", f"{label} is not an object", "write it with role and content"
        )
    role = message.get("role")
    if role not in ROLES:
        raise RowProblem(
            "unknown_role" if isinstance(role, str) else "role_type",
            f"{label} has the role “{quote(str(role), 30)}”",
            f"write one of {', '.join(ROLES[:4])}, tool",
        )
    calls = message.get("tool_calls")
    if calls is None:
        legacy = message.get("function_call")
        calls = [{"function": legacy}] if isinstance(legacy, dict) else []
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise RowProblem(
            "tool_call.no_list", f"{label}: tool_calls is not a list of objects", "list the calls"
        )
    if calls and role != "assistant":
        raise RowProblem(
            "tool_call.role",
            f"{label} has role {_get_role(message)} but calls a tool",
            "move the call to an assistant message",
        )
    return calls


def _parse_turn(
    message: Message, label: str, calls: list[Call], answers: Call | None
) -> ParsedTurn:
    content = message.get("content")
    refusal = _get_text(message, "refusal")
    if content is None and not calls and refusal is None:
        raise RowProblem("missing_content", f"{label} has no content", "write it as text")
    parts = _parse_parts(content, label)
    thoughts = "".join(part.text for part in parts if isinstance(part, ThoughtPart))
    known = _KNOWN_KEYS - {"refusal"} if refusal is None else _KNOWN_KEYS
    extra = [str(k) for k, v in message.items() if k not in known and v is not None]
    return ParsedTurn(
        label=label, role=_get_role(message), calls=calls, answers=answers, refusal=refusal,
        parts=[part for part in parts if not isinstance(part, ThoughtPart)],
        as_list=isinstance(content, list), name=_get_text(message, "name"),
        weight=_get_weight(message, label),
        reasoning=(REASONING[0], thoughts) if thoughts else _get_reasoning(message),
        extra=[*extra, *_find_extra_keys(content)], source=message,
    )  # fmt: skip


def _take_call(message: Message, open_calls: list[Call]) -> Call | None:
    """Remove and return the call that a message answers: by id, else by name, else in order."""
    wanted, name = _get_text(message, "tool_call_id"), _get_text(message, "name")
    for call in open_calls:
        if call.id == wanted if wanted is not None else call.name == name:
            open_calls.remove(call)
            return call
    return open_calls.pop(0) if open_calls and wanted is None and name is None else None


def _parse_call(raw: dict[str, Any], label: str, used: set[str]) -> Call:
    function = raw.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name:
        raise RowProblem(
            "tool_call.no_name",
            f"{label}: a tool call without a function name",
            "write it as {id, type: function, function: {name, arguments}}",
        )
    arguments = function.get("arguments")
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict | str):
        raise RowProblem(
            "tool_arguments",
            f"{label}: the arguments of “{quote(name, 40)}” are not a JSON object",
            "write them as an object",
        )
    call_id = raw.get("id")
    return Call(call_id if isinstance(call_id, str) and call_id else _new_id(used), name, arguments)


def _new_id(used: set[str]) -> str:
    number = 1
    while (call_id := f"call_{number}") in used:
        number += 1
    used.add(call_id)
    return call_id


def _get_text(message: Message, key: str) -> str | None:
    value = message.get(key)
    return value if isinstance(value, str) and value else None


def _get_weight(message: Message, label: str) -> int | None:
    weight = message.get("weight")
    if weight is None:
        return None
    if isinstance(weight, bool) or weight not in (0, 1):
        raise RowProblem("weight", f"{label} has a weight other than 0 or 1", "write 0 or 1")
    return int(weight)


def _get_reasoning(message: Message) -> tuple[str, str] | None:
    for key in REASONING:
        if isinstance(value := message.get(key), str) and value:
            return key, value
    return None


def _parse_parts(content: Any, label: str) -> list[Part | ThoughtPart]:
    """Parse the parts of a message's content; raise RowProblem if it is invalid."""
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(content)]
    if not isinstance(content, list):
        kind = type(content).__name__
        raise RowProblem("content_type", f"{label} has content of type {kind}", "write it as text")
    return [_parse_part(part, label) for part in content]


def _parse_part(part: Any, label: str) -> Part | ThoughtPart:
    if isinstance(part, str):
        return Text(part)
    if not isinstance(part, dict):
        raise RowProblem(
            "content_parts.no_object",
            f"{label} has a part that is not an object",
            "write {type: text, text: …}",
        )
    kind = part.get("type")
    if (thought := get_thought(part)) is not None:
        return ThoughtPart(thought)
    if isinstance(part.get("text"), str) and kind in ("text", None):
        return Text(part["text"])
    if kind == "image_url":
        return _parse_image(part, label)
    if not isinstance(kind, str):
        raise RowProblem(
            "content_parts.no_type",
            f"{label} has a part without a type",
            "write {type: text, text: …}",
        )
    return OtherPart(kind, part)


def _parse_image(part: dict[str, Any], label: str) -> Image:
    image = part.get("image_url")
    fields = {"url": image} if isinstance(image, str) else image
    if not isinstance(fields, dict) or not isinstance(fields.get("url"), str):
        raise RowProblem(
            "image_url.missing",
            f"{label} has an image without a URL",
            "write {type: image_url, image_url: {url: …}}",
        )
    detail = {key: value for key, value in fields.items() if key != "url"}
    more = {key: value for key, value in part.items() if key not in ("type", "image_url")}
    return Image(fields["url"], detail, more)


def _find_extra_keys(content: Any) -> list[str]:
    """Return the unknown keys of the text parts of a content."""
    if not isinstance(content, list):
        return []
    keys = (key for part in content if _is_text(part) for key in part if part[key] is not None)
    return [str(key) for key in keys if key not in ("type", "text", "thought")]


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)
