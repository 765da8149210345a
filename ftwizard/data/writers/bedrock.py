"""Bedrock's rows: Converse for Nova and Llama, and Claude's messages of text.

Sources: https://docs.aws.amazon.com/bedrock/latest/userguide/nova-2-sft-data-prep.html,
https://docs.aws.amazon.com/nova/latest/nova2-userguide/nova-data-prep-sft-2.html (tools,
reasoning), https://docs.aws.amazon.com/bedrock/latest/userguide/preparing-image-text-data.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example
from ftwizard.data.targets import Target
from ftwizard.data.writers.calls import answered, arguments_object
from ftwizard.data.writers.fit import (
    fitted,
    media_problem,
    require_text,
    suffix_of,
    system_first,
)
from ftwizard.data.writers.losses import Losses
from ftwizard.data.writers.openai import Row
from ftwizard.data.writers.parts import Image, Other, Text
from ftwizard.data.writers.turns import Turn

SCHEMA = "bedrock-conversation-2024"
_FORMATS = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "gif": "gif", "webp": "webp"}
_NO_ID = re.compile(r"[^A-Za-z0-9_-]")
_MOST_ID = 64
_NO_SCHEMA: Row = {"type": "object", "properties": {}}


def converse(example: Example, target: Target, losses: Losses) -> Row:
    """Return a conversation as the Converse API writes it; raise RowProblem."""
    is_nova = target.name == "bedrock-nova"
    found = fitted(example, target, losses, carries=frozenset({"reasoning"} if is_nova else set()))
    system, others = system_first(found.messages, target)
    texts = [turn.text for turn in system if turn.text]
    row: Row = {"schemaVersion": SCHEMA}
    if texts:
        # Its checker for Llama takes one text of the system.
        texts = texts if is_nova else ["\n\n".join(texts)]
        row["system"] = [{"text": text} for text in texts]
    row["messages"] = list(_messages(others, target))
    if found.tools:
        row["toolConfig"] = {"tools": [_tool(tool["function"]) for tool in found.tools]}
    return row


def claude(example: Example, target: Target, losses: Losses) -> Row:
    """Return ``system`` and ``messages`` of text; raise RowProblem."""
    found = fitted(example, target, losses)
    system, others = system_first(found.messages, target)
    for turn in others:
        require_text(turn, target)
    texts = [turn.text for turn in system if turn.text]
    row: Row = {"system": "\n\n".join(texts)} if texts else {}
    row["messages"] = [{"role": turn.role, "content": turn.text} for turn in others]
    return row


def _messages(turns: list[Turn], target: Target) -> Iterator[Row]:
    """Yield messages; what tools answered is the beginning of the user's next one."""
    waiting: list[Row] = []
    for turn in turns:
        if turn.role == "tool":
            waiting.append(_result(turn, target))
            continue
        if turn.role == "user":
            yield {"role": "user", "content": [*waiting, *_content(turn, target)]}
            waiting = []
            continue
        if waiting:
            yield {"role": "user", "content": waiting}
            waiting = []
        yield {"role": turn.role, "content": _content(turn, target)}
    if waiting:
        yield {"role": "user", "content": waiting}


def _content(turn: Turn, target: Target) -> list[Row]:
    content: list[Row] = []
    if turn.reasoning is not None and target.name == "bedrock-nova":
        content.append({"reasoningContent": {"reasoningText": {"text": turn.reasoning[1]}}})
    content += _blocks(turn, target)
    for call in turn.calls:
        value = {"toolUseId": _id(call.id), "name": call.name}
        content.append({"toolUse": {**value, "input": arguments_object(call, turn)}})
    if not content:
        raise RowProblem(
            "empty_assistant" if turn.role == "assistant" else "empty_content",
            f"{turn.place} is empty, and {target.words} takes no empty message",
            "write it, or delete the row",
        )
    return content


def _blocks(turn: Turn, target: Target) -> list[Row]:
    found: list[Row] = []
    for part in turn.parts:
        if isinstance(part, Text):
            if part.text:  # a block without text is refused
                found.append({"text": part.text})
        elif isinstance(part, Image):
            found.append(_image(part, turn))
        else:
            found.append(_media(part, turn, target))
    return found


def _image(image: Image, turn: Turn) -> Row:
    name = image.more.get("format") or suffix_of(image.url)
    if not isinstance(name, str) or name.lower() not in _FORMATS:
        raise RowProblem(
            "image_type",
            f"{turn.place} holds a picture whose name does not say what it is",
            "give it a name that ends in .jpeg, .png, .gif or .webp",
        )
    place = {"uri": image.url}
    if isinstance(owner := image.more.get("bucketOwner"), str):
        place["bucketOwner"] = owner
    return {"image": {"format": _FORMATS[name.lower()], "source": {"s3Location": place}}}


def _media(part: Other, turn: Turn, target: Target) -> Row:
    """Return a film or a document that was written for Converse as it is."""
    value = part.value.get(part.type)
    source = value.get("source") if isinstance(value, dict) else None
    if part.type not in target.media or not isinstance(source, dict) or "s3Location" not in source:
        raise media_problem(part, turn, target)
    return {part.type: value}


def _result(turn: Turn, target: Target) -> Row:
    result: Row = {"toolUseId": _id(answered(turn).id)}
    result["content"] = _blocks(turn, target) or [{"text": ""}]
    if isinstance(status := turn.source.get("status"), str):
        result["status"] = status
    return {"toolResult": result}


def _id(given: str) -> str:
    return _NO_ID.sub("_", given)[:_MOST_ID]


def _tool(function: dict[str, Any]) -> Row:
    spec: Row = {"name": function["name"]}
    if isinstance(function.get("description"), str) and function["description"]:
        spec["description"] = function["description"]
    parameters = function.get("parameters")
    schema = parameters if isinstance(parameters, dict) else _NO_SCHEMA
    return {"toolSpec": {**spec, "inputSchema": {"json": schema}}}
