"""Gemini's rows on Vertex AI: contents of parts, and the system's instruction beside them.

Sources: https://cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-supervised-tuning-prepare
and …/tune-function-calling.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example
from ftwizard.data.schemas import vertex_schema
from ftwizard.data.targets import Target
from ftwizard.data.writers.calls import answered, arguments_object
from ftwizard.data.writers.fit import (
    fitted,
    media_problem,
    require_text,
    scheme_of,
    suffix_of,
    system_first,
)
from ftwizard.data.writers.losses import Losses
from ftwizard.data.writers.openai import Row
from ftwizard.data.writers.parts import Image, Other, Text
from ftwizard.data.writers.turns import Turn

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w=.+-]+)*;base64,(.*)", re.DOTALL)


def contents(example: Example, target: Target, losses: Losses) -> Row:
    """Return ``contents``, and where there are any ``systemInstruction`` and ``tools``.

    Raises RowProblem.
    """
    found = fitted(example, target, losses)
    system, others = system_first(found.messages, target)
    row: Row = {}
    parts = [{"text": turn.text} for turn in system if turn.text]
    if parts:
        row["systemInstruction"] = {"role": "system", "parts": parts}
    row["contents"] = list(_contents(others, target))
    if found.tools:
        functions = [_function(tool["function"]) for tool in found.tools]
        row["tools"] = [{"functionDeclarations": functions}]
    return row


def _contents(turns: list[Turn], target: Target) -> Iterator[Row]:
    """Yield contents; answers of tools that follow one another are one content, as their calls."""
    waiting: list[Row] = []
    for turn in turns:
        if turn.role == "tool":
            waiting.append(_response(turn, target))
            continue
        if waiting:
            yield {"role": "user", "parts": waiting}
            waiting = []
        role = "model" if turn.role == "assistant" else turn.role
        yield {"role": role, "parts": _parts(turn, target)}
    if waiting:
        yield {"role": "user", "parts": waiting}


def _parts(turn: Turn, target: Target) -> list[Row]:
    parts: list[Row] = []
    for part in turn.parts:
        if isinstance(part, Text):
            if part.text or not turn.calls:
                parts.append({"text": part.text})
        elif isinstance(part, Image):
            parts.append(_image(part, turn))
        else:
            parts.append(_media(part, turn, target))
    parts += [
        {"functionCall": {"name": call.name, "args": arguments_object(call, turn)}}
        for call in turn.calls
    ]
    return parts or [{"text": ""}]


def _image(image: Image, turn: Turn) -> Row:
    kind = image.more.get("media_type")
    return _file(image.url, kind, turn, "image")


def _media(part: Other, turn: Turn, target: Target) -> Row:
    """Return a film, sound or another file that has an address which is read there."""
    url = part.value.get(part.type)
    taken = target.images.schemes if target.images else ()
    if part.type not in target.media or not isinstance(url, str) or scheme_of(url) not in taken:
        raise media_problem(part, turn, target)
    return _file(url, part.value.get("media_type"), turn, part.type)


def _file(url: str, kind: Any, turn: Turn, medium: str) -> Row:
    if scheme_of(url) == "data":
        found = _DATA_URL.fullmatch(url)
        if found is None:
            raise RowProblem(
                "image_url",
                f"{turn.place} holds a data: URL that is not base64 of a named type",
                "write data:image/png;base64,… or give its address",
            )
        return {"inlineData": {"mimeType": found[1], "data": found[2]}}
    if not isinstance(kind, str):
        kind, _ = mimetypes.guess_type("x." + suffix_of(url))
    if kind is None or (medium == "image" and not kind.startswith("image/")):
        raise RowProblem(
            "image_type",
            f"{turn.place} holds a file whose name does not say what it is",
            "give it a name that ends in .jpeg, .png, .mp4 or the like",
        )
    return {"fileData": {"mimeType": kind, "fileUri": url}}


def _response(turn: Turn, target: Target) -> Row:
    require_text(turn, target)
    text = turn.text
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        value = None
    # What a function gives back is an object there; another text is its output.
    response = value if isinstance(value, dict) else {"output": text}
    return {"functionResponse": {"name": answered(turn).name, "response": response}}


def _function(function: dict[str, Any]) -> Row:
    made: Row = {"name": function["name"]}
    if isinstance(function.get("description"), str):
        made["description"] = function["description"]
    parameters = function.get("parameters")
    if isinstance(parameters, dict) and parameters.get("properties"):
        made["parameters"] = vertex_schema(parameters, function["name"])
    return made
