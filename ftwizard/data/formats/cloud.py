"""Rows of cloud platforms, whose messages are lists of blocks: Amazon Bedrock and Vertex AI.

Bedrock has two formats, Converse (untyped blocks) and Claude (typed blocks); Vertex AI has that of the
Gemini API (``contents`` of roles and parts).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from ftwizard.data.example import Example, Message, RowProblem
from ftwizard.data.formats.chat import parse_role, require_message
from ftwizard.data.formats.fields import (
    add_system_prompt,
    describe_type,
    extra_fields,
    first_key,
    parse_tools,
    prepend_system,
    require_key,
    require_list,
    require_object,
    to_text,
    without,
)
from ftwizard.data.formats.media import to_data_url, to_image_part
from ftwizard.data.vertex_schema import to_json_schema

Block = tuple[Literal["part", "call", "result"], dict[str, Any]]
"""A content part, a tool call in OpenAI's form, or a whole tool message."""
_VERSION = "bedrock-conversation-2024"
_BEDROCK_ROLES = ("user", "assistant")
_CONVERSE = frozenset(("messages", "system", "toolConfig"))
_CLAUDE = frozenset(("messages", "system", "tools"))
_VERTEX_ROLES = {"user": "user", "model": "assistant", "function": "tool", "tool": "tool"}
_SYSTEM = ("systemInstruction", "system_instruction")
_VERTEX = frozenset(("contents", "tools", *_SYSTEM))
_DECLARED = ("functionDeclarations", "function_declarations")


def read_converse(row: Any) -> Example:
    """Read a Converse row: ``messages`` of blocks, ``system``, ``toolConfig``.

    A single text block becomes text.
    """
    fields = require_object(row)
    messages: list[Message] = []
    for turn, where in _iterate_turns(fields, "messages", "messages"):
        listed = _require_blocks(turn.get("content"), "content", where)
        messages += _bedrock_turn(turn, where, (_converse(block, where) for block in listed))
    system = fields.get("system")
    if isinstance(system, list):
        parts = [
            _to_text_part(block["text"], "system", without(block, "text"))
            if "text" in block else _to_unknown_part(block)
            for block in _require_blocks(system, "parts", "system")
        ] if system else []  # fmt: skip
        messages = _add_system_parts(parts, messages)
    elif isinstance(system, str) and system:
        raise RowProblem("system_type", "system is text, not a list", 'write it as [{"text": "…"}]')
    else:
        messages = add_system_prompt(messages, system)
    schemas, rest = _tool_config(fields.get("toolConfig"))
    own = _CONVERSE | {"schemaVersion"} if fields.get("schemaVersion") == _VERSION else _CONVERSE
    return Example(
        kind="chat", messages=messages, tools=schemas, extra=extra_fields(fields, own) | rest
    )


def read_claude(row: Any) -> Example:
    """Read a Claude row: ``messages`` of text or typed blocks, ``system`` and ``tools`` in
    Anthropic's form."""
    fields = require_object(row)
    messages: list[Message] = []
    for turn, where in _iterate_turns(fields, "messages", "messages"):
        if isinstance(turn.get("content"), str):
            parse_role(turn, "role", _BEDROCK_ROLES, where)
            messages.append(turn)
            continue
        listed = _require_blocks(turn.get("content"), "content", where)
        messages += _bedrock_turn(turn, where, (_claude(block, where) for block in listed))
    system = fields.get("system")
    if isinstance(system, list):
        parts = [_claude_part(b, "system") for b in _require_blocks(system, "parts", "system")]
        messages = _add_system_parts(parts, messages)
    else:
        messages = add_system_prompt(messages, system)
    schemas = parse_tools(fields.get("tools"))
    if schemas is not None:
        schemas = [
            _to_tool_schema(
                tool["name"], without(tool, "name", "input_schema"), tool["input_schema"]
            )
            if "name" in tool and "input_schema" in tool else tool
            for tool in schemas
        ]  # fmt: skip
    return Example(
        kind="chat", messages=messages, tools=schemas, extra=extra_fields(fields, _CLAUDE)
    )


def _iterate_turns(fields: Message, key: str, items: str) -> Iterator[tuple[Message, str]]:
    """Yield each turn under ``key`` and what problems call it; ``items`` is the format's word."""
    require_key(fields, (key,), "missing_messages", "add them")
    for number, turn in enumerate(require_list(fields[key], key, items), 1):
        where = f"{key.removesuffix('s')} {number}"
        yield require_message(turn, where), where


def _bedrock_turn(turn: Message, where: str, content: Iterator[Block]) -> list[Message]:
    role = parse_role(turn, "role", _BEDROCK_ROLES, where)
    return _to_messages(role, content, without(turn, "role", "content"))


def _add_system_parts(parts: list[dict[str, Any]], messages: list[Message]) -> list[Message]:
    content = _to_content(parts)
    return (
        messages
        if content is None
        else prepend_system({"role": "system", "content": content}, messages)
    )


def _converse(block: dict[str, Any], where: str) -> Block:
    if "text" in block:
        return "part", _to_text_part(block["text"], where, without(block, "text"))
    if isinstance(use := block.get("toolUse"), dict):
        return "call", _to_tool_call(use.get("name"), use.get("input"), use.get("toolUseId"), where)
    if isinstance(result := block.get("toolResult"), dict):
        more = without(result, "toolUseId", "content")
        content = _converse_result(result.get("content"), where)
        return "result", _to_tool_message(content, result.get("toolUseId"), more)
    return "part", _converse_media(block)


def _converse_media(block: dict[str, Any]) -> dict[str, Any]:
    """Return an image in OpenAI's form, with an S3 or data URL, and any other block under its own
    name."""
    image = block.get("image")
    source = image.get("source") if isinstance(image, dict) else None
    if not isinstance(image, dict) or not isinstance(source, dict):
        return _to_unknown_part(block)
    location = source.get("s3Location")
    more = without(image, "source")
    if isinstance(location, dict) and isinstance(location.get("uri"), str):
        return to_image_part(location["uri"], **more, **without(location, "uri"))
    if isinstance(source.get("bytes"), str):
        return to_image_part(to_data_url(f"image/{image.get('format')}", source["bytes"]), **more)
    return _to_unknown_part(block)


def _converse_result(value: Any, where: str) -> str | list[dict[str, Any]]:
    """Return the content of a tool result: text, or parts for several blocks or images."""
    if not isinstance(value, list) or not all(isinstance(block, dict) for block in value):
        return to_text(value)
    parts = []
    for block in value:
        if "json" in block:
            parts.append(_to_text_part(to_text(block["json"]), where))
        elif "text" in block:
            parts.append(_to_text_part(block["text"], where))
        elif block:
            parts.append(_converse_media(block))
    return _to_content(parts) or ""


def _tool_config(value: Any) -> tuple[list[dict[str, Any]] | None, dict[str, Any]]:
    if value is None:
        return None, {}
    if not isinstance(value, dict):
        message = f"toolConfig is {describe_type(value)}, not an object"
        raise RowProblem("tools", message, "{tools: […]}")
    schemas = []
    for tool in parse_tools(value.get("tools")) or []:
        spec = tool.get("toolSpec")
        if not isinstance(spec, dict):
            schemas.append(tool)
            continue
        schema = spec.get("inputSchema")
        parameters = schema.get("json") if isinstance(schema, dict) else schema
        schemas.append(
            _to_tool_schema(spec.get("name"), without(spec, "name", "inputSchema"), parameters)
        )
    rest = without(value, "tools")
    return schemas or None, {"toolConfig": rest} if rest else {}


def _claude(block: dict[str, Any], where: str) -> Block:
    kind = block.get("type")
    if kind == "tool_use":
        return "call", _to_tool_call(block.get("name"), block.get("input"), block.get("id"), where)
    if kind == "tool_result":
        content = _claude_result(block.get("content"), where)
        more = without(block, "type", "tool_use_id", "content")
        return "result", _to_tool_message(content, block.get("tool_use_id"), more)
    return "part", _claude_part(block, where)


def _claude_result(value: Any, where: str) -> str | list[dict[str, Any]]:
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(block, dict) and block for block in value):
        return _to_content([_claude_part(block, where) for block in value]) or ""
    return to_text(value)


def _claude_part(block: dict[str, Any], where: str) -> dict[str, Any]:
    if block.get("type") in ("text", None) and "text" in block:
        return _to_text_part(block["text"], where, without(block, "text"))
    source = block.get("source")
    if block.get("type") == "image" and isinstance(source, dict):
        more = without(block, "type", "source")
        if isinstance(source.get("url"), str):
            return to_image_part(source["url"], **more)
        if isinstance(source.get("data"), str) and isinstance(source.get("media_type"), str):
            return to_image_part(to_data_url(source["media_type"], source["data"]), **more)
    return _to_unknown_part(block)


def read_vertex(row: Any) -> Example:
    """Read ``contents``, ``systemInstruction`` and ``tools``; snake_case names work too.

    A single text part becomes text, a function response JSON text.
    """
    fields = require_object(row)
    messages: list[Message] = []
    for turn, where in _iterate_turns(fields, "contents", "turns"):
        messages += _vertex_turn(turn, where)
    return Example(
        kind="chat",
        messages=_add_vertex_system(messages, fields),
        tools=_convert_functions(parse_tools(fields.get("tools"))),
        extra=extra_fields(fields, _VERTEX),
    )


def _vertex_turn(turn: Message, where: str) -> list[Message]:
    parts = _require_blocks(turn.get("parts"), "parts", where)
    if turn.get("role") is None and all(map(_is_response, parts)):
        turn = {**turn, "role": "user"}  # as in Google's own examples
    role = _VERTEX_ROLES[parse_role(turn, "role", tuple(_VERTEX_ROLES), where)]
    more = without(turn, "role", "parts")
    return _to_messages(role, [_vertex_block(part, where) for part in parts], more)


def _vertex_block(part: dict[str, Any], where: str) -> Block:
    if "text" in part:
        return "part", _to_text_part(part["text"], where, without(part, "text"))
    call = _get_object(part, "functionCall", "function_call")
    if call is not None:
        return "call", _to_tool_call(call.get("name"), call.get("args"), call.get("id"), where)
    response = _get_object(part, "functionResponse", "function_response")
    if response is not None:
        more = without(response, "response", "id")
        text = to_text(response.get("response"))
        return "result", _to_tool_message(text, response.get("id"), more)
    return "part", _vertex_media(part)


def _is_response(part: dict[str, Any]) -> bool:
    return _get_object(part, "functionResponse", "function_response") is not None


def _vertex_media(part: dict[str, Any]) -> dict[str, Any]:
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
            return _to_unknown_part(part)
        if kind.startswith("image/"):
            return to_image_part(url, media_type=kind, **more)
        medium = kind.split("/")[0]
        medium = medium if medium in ("video", "audio") else "file"
        return {**more, "type": medium, medium: url, "media_type": kind}
    return _to_unknown_part(part)


def _get_object(part: dict[str, Any], camel: str, snake: str) -> dict[str, Any] | None:
    value = part.get(camel, part.get(snake))
    return value if isinstance(value, dict) else None


def _add_vertex_system(messages: list[Message], fields: Message) -> list[Message]:
    name = first_key(fields, _SYSTEM)
    value = fields[name] if name is not None else None
    if isinstance(value, str) and value:
        message = f"{name} is text, not an object"
        raise RowProblem("system_type", message, 'write it as {"parts": [{"text": "…"}]}')
    if not isinstance(value, dict):
        return add_system_prompt(messages, value)
    parts = [
        _to_text_part(part["text"], "systemInstruction") if "text" in part
        else _to_unknown_part(part)
        for part in _require_blocks(value.get("parts"), "parts", "systemInstruction")
    ]  # fmt: skip
    return _add_system_parts(parts, messages)


def _convert_functions(listed: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """Return declared functions in OpenAI's form, other tools unchanged."""
    schemas: list[dict[str, Any]] = []
    for tool in listed or []:
        key = first_key(tool, _DECLARED)
        declared = tool[key] if key is not None else None
        if not isinstance(declared, list) or not all(isinstance(d, dict) for d in declared):
            schemas.append(tool)
            continue
        for function in declared:
            described = without(function, "name", "parameters")
            name, parameters = function.get("name"), function.get("parameters")
            if isinstance(parameters, dict):
                parameters = to_json_schema(parameters, str(name))
            schemas.append(_to_tool_schema(name, described, parameters))
        if rest := without(tool, str(key)):
            schemas.append(rest)
    return schemas or None


def _to_messages(role: str, blocks: Iterable[Block], more: Message) -> list[Message]:
    """Return the messages of one turn: its own, and the tool messages before or after it.

    ``more`` holds the other fields of the turn; they stay on its own message.
    """
    result: list[Message] = []
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []

    def close() -> None:
        if parts or calls:
            message = {**more, "role": role, "content": _to_content(parts)}
            if calls:
                message["tool_calls"] = list(calls)
            result.append(message)
        parts.clear()
        calls.clear()

    for kind, value in blocks:
        if kind == "result":
            close()
            result.append(value)
        else:
            (parts if kind == "part" else calls).append(value)
    close()
    return result


def _to_content(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]] | None:
    """Return parts as the content of a message: a single text as text, no parts as None."""
    if not parts:
        return None
    if len(parts) == 1 and parts[0].keys() == {"type", "text"} and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return list(parts)


def _to_text_part(value: Any, where: str, more: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a text part; raise RowProblem if the value is not text."""
    if not isinstance(value, str):
        message = f"{where} has a text that is {describe_type(value)}"
        raise RowProblem("content_type.text", message, "write it as text")
    return {**(more or {}), "type": "text", "text": value}


def _require_blocks(value: Any, name: str, where: str) -> list[dict[str, Any]]:
    """Return a turn's list of non-empty blocks; raise RowProblem."""
    if value is None:
        raise RowProblem("missing_content", f"{where} has no {name}", f"add its {name}")
    if not isinstance(value, list):
        message = f"{name} of {where} is {describe_type(value)}, not a list"
        raise RowProblem("content_type.list", message, "write a list of parts")
    if not value or not all(isinstance(block, dict) and block for block in value):
        problem = f"{where} has an empty part"
        raise RowProblem("content_parts.empty_part", problem, "remove or fill the part")
    return value


def _to_tool_call(name: Any, arguments: Any, id: Any, where: str) -> dict[str, Any]:
    """Return a tool call in OpenAI's form, with unchanged arguments; raise RowProblem."""
    if not isinstance(name, str):
        raise RowProblem("tool_call", f"{where}: a tool call has no function name", "add its name")
    prefix: dict[str, Any] = {} if id is None else {"id": id}
    return {**prefix, "type": "function", "function": {"name": name, "arguments": arguments}}


def _to_tool_message(content: str | list[dict[str, Any]], call_id: Any, more: Message) -> Message:
    """Return a tool message with the result, the id of the call and any other fields."""
    message: Message = {**more, "role": "tool", "content": content}
    return message if call_id is None else {**message, "tool_call_id": call_id}


def _to_unknown_part(block: dict[str, Any]) -> dict[str, Any]:
    """Return a block of unknown kind as a part with its first key as the type."""
    kind = block.get("type")
    return {**block, "type": kind if isinstance(kind, str) else str(next(iter(block)))}


def _to_tool_schema(name: Any, schema: dict[str, Any], parameters: Any) -> dict[str, Any]:
    """Return a tool schema in OpenAI's form; ``schema`` holds its other fields."""
    described = {"name": name, **schema}
    if parameters is not None:
        described["parameters"] = parameters
    return {"type": "function", "function": described}
