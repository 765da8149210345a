"""Amazon Bedrock rows: Converse (untyped blocks) and Claude (typed blocks)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ftwizard.data.example import Example, Message, RowProblem
from ftwizard.data.formats import content_blocks
from ftwizard.data.formats.content_blocks import Block
from ftwizard.data.formats.fields import (
    add_system_prompt,
    describe_keys,
    describe_type,
    extra_fields,
    parse_tools,
    prepend_system,
    require_list,
    require_object,
    to_text,
    without,
)
from ftwizard.data.formats.media import to_data_url, to_image_part
from ftwizard.data.formats.messages import parse_role, require_message

_VERSION = "bedrock-conversation-2024"
_ROLES = ("user", "assistant")
_CONVERSE = frozenset(("messages", "system", "toolConfig"))
_CLAUDE = frozenset(("messages", "system", "tools"))


def read_converse(row: Any) -> Example:
    """Read a Converse row: ``messages`` of blocks, ``system``, ``toolConfig``.

    A single text block becomes text. Raises RowProblem.
    """
    fields = require_object(row)
    messages: list[Message] = []
    for turn, where in _turns(fields):
        listed = content_blocks.require_blocks(turn.get("content"), "content", where)
        messages += _turn(turn, where, (_converse(block, where) for block in listed))
    system = fields.get("system")
    if isinstance(system, list):
        parts = [
            content_blocks.to_text_part(block["text"], "system", without(block, "text"))
            if "text" in block else content_blocks.to_unknown_part(block)
            for block in content_blocks.require_blocks(system, "parts", "system")
        ] if system else []  # fmt: skip
        messages = _prepend_system(parts, messages)
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
    Anthropic's form; raise RowProblem."""
    fields = require_object(row)
    messages: list[Message] = []
    for turn, where in _turns(fields):
        if isinstance(turn.get("content"), str):
            parse_role(turn, "role", _ROLES, where)
            messages.append(turn)
            continue
        listed = content_blocks.require_blocks(turn.get("content"), "content", where)
        messages += _turn(turn, where, (_claude(block, where) for block in listed))
    system = fields.get("system")
    if isinstance(system, list):
        parts = [
            _part(b, "system") for b in content_blocks.require_blocks(system, "parts", "system")
        ]
        messages = _prepend_system(parts, messages)
    else:
        messages = add_system_prompt(messages, system)
    schemas = parse_tools(fields.get("tools"))
    if schemas is not None:
        schemas = [
            content_blocks.to_tool_schema(
                tool["name"], without(tool, "name", "input_schema"), tool["input_schema"]
            )
            if "name" in tool and "input_schema" in tool else tool
            for tool in schemas
        ]  # fmt: skip
    return Example(
        kind="chat", messages=messages, tools=schemas, extra=extra_fields(fields, _CLAUDE)
    )


def _turns(fields: Message) -> Iterator[tuple[Message, str]]:
    value = fields.get("messages")
    if value is None:
        raise RowProblem("missing_messages", f"no messages ({describe_keys(fields)})", "add them")
    for number, turn in enumerate(require_list(value, "messages", "messages"), 1):
        where = f"message {number}"
        yield require_message(turn, where), where


def _turn(turn: Message, where: str, content: Iterator[Block]) -> list[Message]:
    role = parse_role(turn, "role", _ROLES, where)
    return content_blocks.to_messages(role, content, without(turn, "role", "content"))


def _prepend_system(parts: list[dict[str, Any]], messages: list[Message]) -> list[Message]:
    content = content_blocks.to_content(parts)
    return (
        messages
        if content is None
        else prepend_system({"role": "system", "content": content}, messages)
    )


def _converse(block: dict[str, Any], where: str) -> Block:
    if "text" in block:
        return "part", content_blocks.to_text_part(block["text"], where, without(block, "text"))
    if isinstance(use := block.get("toolUse"), dict):
        return "call", content_blocks.to_tool_call(
            use.get("name"), use.get("input"), use.get("toolUseId"), where
        )
    if isinstance(result := block.get("toolResult"), dict):
        more = without(result, "toolUseId", "content")
        content = _converse_result(result.get("content"), where)
        return "result", content_blocks.to_tool_message(content, result.get("toolUseId"), more)
    return "part", _media(block)


def _media(block: dict[str, Any]) -> dict[str, Any]:
    """Return an image in OpenAI's form, with an S3 or data URL, and any other block under its own
    name."""
    image = block.get("image")
    source = image.get("source") if isinstance(image, dict) else None
    if not isinstance(image, dict) or not isinstance(source, dict):
        return content_blocks.to_unknown_part(block)
    location = source.get("s3Location")
    more = without(image, "source")
    if isinstance(location, dict) and isinstance(location.get("uri"), str):
        return to_image_part(location["uri"], **more, **without(location, "uri"))
    if isinstance(source.get("bytes"), str):
        return to_image_part(to_data_url(f"image/{image.get('format')}", source["bytes"]), **more)
    return content_blocks.to_unknown_part(block)


def _converse_result(value: Any, where: str) -> str | list[dict[str, Any]]:
    """Return the content of a tool result: text, or parts for several blocks or images."""
    if not isinstance(value, list) or not all(isinstance(block, dict) for block in value):
        return to_text(value)
    parts = []
    for block in value:
        if "json" in block:
            parts.append(content_blocks.to_text_part(to_text(block["json"]), where))
        elif "text" in block:
            parts.append(content_blocks.to_text_part(block["text"], where))
        elif block:
            parts.append(_media(block))
    return content_blocks.to_content(parts) or ""


def _tool_config(value: Any) -> tuple[list[dict[str, Any]] | None, dict[str, Any]]:
    if value is None:
        return None, {}
    if not isinstance(value, dict):
        raise RowProblem(
            "tools", f"toolConfig is {describe_type(value)}, not an object", "{tools: […]}"
        )
    schemas = []
    for tool in parse_tools(value.get("tools")) or []:
        spec = tool.get("toolSpec")
        if not isinstance(spec, dict):
            schemas.append(tool)
            continue
        schema = spec.get("inputSchema")
        parameters = schema.get("json") if isinstance(schema, dict) else schema
        schemas.append(
            content_blocks.to_tool_schema(
                spec.get("name"), without(spec, "name", "inputSchema"), parameters
            )
        )
    rest = without(value, "tools")
    return schemas or None, {"toolConfig": rest} if rest else {}


def _claude(block: dict[str, Any], where: str) -> Block:
    kind = block.get("type")
    if kind == "tool_use":
        return "call", content_blocks.to_tool_call(
            block.get("name"), block.get("input"), block.get("id"), where
        )
    if kind == "tool_result":
        content = _claude_result(block.get("content"), where)
        more = without(block, "type", "tool_use_id", "content")
        return "result", content_blocks.to_tool_message(content, block.get("tool_use_id"), more)
    return "part", _part(block, where)


def _claude_result(value: Any, where: str) -> str | list[dict[str, Any]]:
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(block, dict) and block for block in value):
        return content_blocks.to_content([_part(block, where) for block in value]) or ""
    return to_text(value)


def _part(block: dict[str, Any], where: str) -> dict[str, Any]:
    if block.get("type") in ("text", None) and "text" in block:
        return content_blocks.to_text_part(block["text"], where, without(block, "text"))
    source = block.get("source")
    if block.get("type") == "image" and isinstance(source, dict):
        more = without(block, "type", "source")
        if isinstance(source.get("url"), str):
            return to_image_part(source["url"], **more)
        if isinstance(source.get("data"), str) and isinstance(source.get("media_type"), str):
            return to_image_part(to_data_url(source["media_type"], source["data"]), **more)
    return content_blocks.to_unknown_part(block)
