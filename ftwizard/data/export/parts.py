"""Parsing of message content into parts."""

from __future__ import annotations

from typing import Any, NamedTuple

from ftwizard.data.example import RowProblem


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


def parse_parts(content: Any, label: str) -> list[Part | ThoughtPart]:
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
    if isinstance(part.get("text"), str) and kind in ("text", None):
        return ThoughtPart(part["text"]) if part.get("thought") is True else Text(part["text"])
    if kind == "image_url":
        return _parse_image(part, label)
    if not isinstance(kind, str):
        raise RowProblem(
            "content_parts.no_type",
            f"{label} has a part without a type",
            "write {type: text, text: …}",
        )
    thought = _parse_thought(part, kind)
    return OtherPart(kind, part) if thought is None else thought


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


def _parse_thought(part: dict[str, Any], kind: str) -> ThoughtPart | None:
    """Parse a reasoning part of Claude or Bedrock; return None for other parts."""
    value = part.get("thinking") if kind == "thinking" else None
    if kind == "reasoningContent" and isinstance(part.get(kind), dict):
        reasoned = part[kind].get("reasoningText")
        value = reasoned.get("text") if isinstance(reasoned, dict) else None
    return ThoughtPart(value) if isinstance(value, str) else None


def find_extra_keys(content: Any) -> list[str]:
    """Return the unknown keys of the text parts of a content."""
    if not isinstance(content, list):
        return []
    keys = (key for part in content if _is_text(part) for key in part if part[key] is not None)
    return [str(key) for key in keys if key not in ("type", "text", "thought")]


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)
