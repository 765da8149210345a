"""Parts of a message's content, told apart."""

from __future__ import annotations

from typing import Any, NamedTuple

from ftwizard.data.conversation import RowProblem


class Text(NamedTuple):
    """A part of a content that is text."""

    text: str


class Image(NamedTuple):
    """A part of a content that is a picture."""

    url: str
    """Where it is, or a data URL with all of it."""
    detail: dict[str, Any]
    """What stands beside the URL, as OpenAI's ``detail``."""
    more: dict[str, Any]
    """What else the part has: its ``format`` or ``media_type``, who owns its place, …"""


class Other(NamedTuple):
    """A part that is neither: sound, a film, a document, …"""

    type: str
    value: dict[str, Any]


class Thought(NamedTuple):
    """How an answer was reasoned, where that is a part of it."""

    text: str


Part = Text | Image | Other


def parts_of(content: Any, place: str) -> list[Part | Thought]:
    """Return the parts of a message's content; raise RowProblem for what is none."""
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(content)]
    if not isinstance(content, list):
        kind = type(content).__name__
        raise RowProblem("content_type", f"{place} has content of type {kind}", "write it as text")
    return [_part(part, place) for part in content]


def _part(part: Any, place: str) -> Part | Thought:
    if isinstance(part, str):
        return Text(part)
    if not isinstance(part, dict):
        raise RowProblem(
            "content_parts", f"{place} has a part that is no object", "write {type: text, text: …}"
        )
    kind = part.get("type")
    if isinstance(part.get("text"), str) and kind in ("text", None):
        return Thought(part["text"]) if part.get("thought") is True else Text(part["text"])
    if kind == "image_url":
        return _image(part, place)
    if not isinstance(kind, str):
        raise RowProblem(
            "content_parts", f"{place} has a part without a type", "write {type: text, text: …}"
        )
    thought = _thought(part, kind)
    return Other(kind, part) if thought is None else thought


def _image(part: dict[str, Any], place: str) -> Image:
    image = part.get("image_url")
    fields = {"url": image} if isinstance(image, str) else image
    if not isinstance(fields, dict) or not isinstance(fields.get("url"), str):
        raise RowProblem(
            "image_url",
            f"{place} has a picture without a URL",
            "write {type: image_url, image_url: {url: …}}",
        )
    detail = {key: value for key, value in fields.items() if key != "url"}
    more = {key: value for key, value in part.items() if key not in ("type", "image_url")}
    return Image(fields["url"], detail, more)


def _thought(part: dict[str, Any], kind: str) -> Thought | None:
    """Return what Claude's and Bedrock's rows have of reasoning, None for another part."""
    value = part.get("thinking") if kind == "thinking" else None
    if kind == "reasoningContent" and isinstance(part.get(kind), dict):
        reasoned = part[kind].get("reasoningText")
        value = reasoned.get("text") if isinstance(reasoned, dict) else None
    return Thought(value) if isinstance(value, str) else None


def beside_texts(content: Any) -> list[str]:
    """Return the keys that stand beside the texts of a content, and mean nothing here."""
    if not isinstance(content, list):
        return []
    keys = (key for part in content if _is_text(part) for key in part if part[key] is not None)
    return [str(key) for key in keys if key not in ("type", "text", "thought")]


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)
