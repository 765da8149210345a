"""Vertex AI rows: ``contents`` of roles and parts, in the Gemini API's form."""

from __future__ import annotations

from typing import Any

from ftwizard.data.example import Example, Message, RowProblem
from ftwizard.data.formats import content_blocks
from ftwizard.data.formats.content_blocks import Block
from ftwizard.data.formats.fields import (
    add_system_prompt,
    describe_keys,
    extra_fields,
    first_key,
    parse_tools,
    prepend_system,
    require_list,
    require_object,
    to_text,
    without,
)
from ftwizard.data.formats.media import to_data_url, to_image_part
from ftwizard.data.formats.messages import parse_role, require_message
from ftwizard.data.json_schema import to_json_schema

_ROLES = {"user": "user", "model": "assistant", "function": "tool", "tool": "tool"}
_SYSTEM = ("systemInstruction", "system_instruction")
_KNOWN = frozenset(("contents", "tools", *_SYSTEM))
_DECLARED = ("functionDeclarations", "function_declarations")


def read_vertex(row: Any) -> Example:
    """Read ``contents``, ``systemInstruction`` and ``tools``; snake_case names work too.

    A single text part becomes text, a function response JSON text. Raises RowProblem.
    """
    fields = require_object(row)
    contents = fields.get("contents")
    if contents is None:
        raise RowProblem("missing_messages", f"no contents ({describe_keys(fields)})", "add them")
    messages: list[Message] = []
    for number, value in enumerate(require_list(contents, "contents", "turns"), 1):
        messages += _turn(value, f"content {number}")
    return Example(
        kind="chat",
        messages=_with_system(messages, fields),
        tools=_functions(parse_tools(fields.get("tools"))),
        extra=extra_fields(fields, _KNOWN),
    )


def _turn(value: Any, where: str) -> list[Message]:
    turn = require_message(value, where)
    parts = content_blocks.require_blocks(turn.get("parts"), "parts", where)
    if turn.get("role") is None and all(map(_is_response, parts)):
        turn = {**turn, "role": "user"}  # as in Google's own examples
    role = _ROLES[parse_role(turn, "role", tuple(_ROLES), where)]
    more = without(turn, "role", "parts")
    return content_blocks.to_messages(role, [_block(part, where) for part in parts], more)


def _block(part: dict[str, Any], where: str) -> Block:
    if "text" in part:
        return "part", content_blocks.to_text_part(part["text"], where, without(part, "text"))
    call = _get_object(part, "functionCall", "function_call")
    if call is not None:
        return "call", content_blocks.to_tool_call(
            call.get("name"), call.get("args"), call.get("id"), where
        )
    response = _get_object(part, "functionResponse", "function_response")
    if response is not None:
        more = without(response, "response", "id")
        text = to_text(response.get("response"))
        return "result", content_blocks.to_tool_message(text, response.get("id"), more)
    return "part", _media(part)


def _is_response(part: dict[str, Any]) -> bool:
    return _get_object(part, "functionResponse", "function_response") is not None


def _media(part: dict[str, Any]) -> dict[str, Any]:
    """Return an image in OpenAI's form, or a video, audio or file part."""
    for camel, snake in (("fileData", "file_data"), ("inlineData", "inline_data")):
        data = _get_object(part, camel, snake)
        if data is None:
            continue
        kind = data.get("mimeType", data.get("mime_type"))
        url = data.get("fileUri", data.get("file_uri"))
        if url is None and isinstance(data.get("data"), str):
            url = to_data_url(str(kind), data["data"])
        more = without(part, camel, snake)
        if not isinstance(kind, str) or not isinstance(url, str):
            return content_blocks.to_unknown_part(part)
        if kind.startswith("image/"):
            return to_image_part(url, media_type=kind, **more)
        medium = kind.split("/")[0]
        medium = medium if medium in ("video", "audio") else "file"
        return {**more, "type": medium, medium: url, "media_type": kind}
    return content_blocks.to_unknown_part(part)


def _get_object(part: dict[str, Any], camel: str, snake: str) -> dict[str, Any] | None:
    value = part.get(camel, part.get(snake))
    return value if isinstance(value, dict) else None


def _with_system(messages: list[Message], fields: Message) -> list[Message]:
    name = first_key(fields, _SYSTEM)
    value = fields[name] if name is not None else None
    if isinstance(value, str) and value:
        raise RowProblem(
            "system_type",
            f"{name} is text, not an object",
            'write it as {"parts": [{"text": "…"}]}',
        )
    if not isinstance(value, dict):
        return add_system_prompt(messages, value)
    parts = [
        content_blocks.to_text_part(part["text"], "systemInstruction") if "text" in part
        else content_blocks.to_unknown_part(part)
        for part in content_blocks.require_blocks(value.get("parts"), "parts", "systemInstruction")
    ]  # fmt: skip
    return prepend_system({"role": "system", "content": content_blocks.to_content(parts)}, messages)


def _functions(listed: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """Return declared functions in OpenAI's form, other tools unchanged."""
    schemas: list[dict[str, Any]] = []
    for tool in listed or []:
        name = first_key(tool, _DECLARED)
        declared = tool[name] if name is not None else None
        if not isinstance(declared, list) or not all(isinstance(d, dict) for d in declared):
            schemas.append(tool)
            continue
        for function in declared:
            described = without(function, "name", "parameters")
            parameters = _parameters(function)
            schemas.append(
                content_blocks.to_tool_schema(function.get("name"), described, parameters)
            )
        if rest := without(tool, str(name)):
            schemas.append(rest)
    return schemas or None


def _parameters(declared: dict[str, Any]) -> Any:
    parameters = declared.get("parameters")
    name = str(declared.get("name"))
    return to_json_schema(parameters, name) if isinstance(parameters, dict) else parameters
