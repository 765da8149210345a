"""Parts that the translations of chat completions share: content of messages, completions, chunks."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ftwizard.evaluate.transports.transport import Body, SdkRefusal

SYSTEM = ("system", "developer")
"""Roles of instructions."""


class ImageData(NamedTuple):
    """An image of a message."""

    mime: str
    data: bytes


class Usage(NamedTuple):
    """Tokens that an answer took."""

    prompt: int = 0
    completion: int = 0
    """Thoughts included."""
    reasoning: int = 0


def read_messages(body: Body) -> Sequence[Mapping[str, Any]]:
    """Return the messages of a request; raise SdkRefusal if there are none."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise SdkRefusal(400, "The request has no messages.")
    return messages


def read_parts(message: Mapping[str, Any]) -> Iterator[str | ImageData]:
    """Yield the texts and images of a message; raise SdkRefusal for what cannot be sent."""
    content = message.get("content")
    if isinstance(content, str):
        yield content
        return
    for part in content or ():
        kind = part.get("type")
        if kind == "text":
            yield str(part.get("text", ""))
        elif kind == "image_url":
            yield _read_image(str((part.get("image_url") or {}).get("url", "")))
        else:
            raise SdkRefusal(400, f"A part of a message has the type {kind}, which is not sent.")


def read_text(message: Mapping[str, Any]) -> str:
    """Return the text of a message; raise SdkRefusal if it has an image."""
    parts = list(read_parts(message))
    if any(isinstance(part, ImageData) for part in parts):
        raise SdkRefusal(400, f"A message of the role {message.get('role')} has an image.")
    return "\n\n".join(str(part) for part in parts)


def _read_image(url: str) -> ImageData:
    head, comma, data = url.partition(",")
    mime, _, encoding = head.removeprefix("data:").partition(";")
    if not url.startswith("data:image/") or not comma or encoding != "base64":
        raise SdkRefusal(400, "Images are sent as base64 data: URLs only.")
    try:
        return ImageData(mime, base64.b64decode(data, validate=True))
    except binascii.Error:
        raise SdkRefusal(400, "An image is not valid base64.") from None


def get_limit(body: Body) -> int | None:
    """Return the limit of tokens of an answer."""
    return body.get("max_tokens") or body.get("max_completion_tokens")


def get_stops(body: Body) -> list[str]:
    """Return the texts that end an answer."""
    stop = body.get("stop")
    return [stop] if isinstance(stop, str) else list(stop or ())


def make_completion(
    model: str, message: Mapping[str, Any], finish: str, usage: Usage
) -> dict[str, Any]:
    """Return a chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return {
        **_make_head(model, "chat.completion"),
        "choices": [choice],
        "usage": _to_document(usage),
    }


def make_chunk(
    model: str, delta: Mapping[str, Any], finish: str | None = None, usage: Usage | None = None
) -> dict[str, Any]:
    """Return a chunk of a streamed chat completion; one with ``usage`` has nothing else."""
    head = _make_head(model, "chat.completion.chunk")
    if usage is not None:
        return {**head, "choices": [], "usage": _to_document(usage)}
    return {**head, "choices": [{"index": 0, "delta": dict(delta), "finish_reason": finish}]}


def _make_head(model: str, kind: str) -> dict[str, Any]:
    return {"id": "sdk", "object": kind, "created": int(time.time()), "model": model}


def _to_document(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
