"""Pictures, videos and sound that stand beside the messages, put where the text names them."""

from __future__ import annotations

import re
from typing import Any

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Message
from ftwizard.text import plural

COLUMNS = frozenset(("images", "videos", "audios"))
"""Of LLaMA-Factory and ms-swift. A text names one of theirs as ``<image>``, ``<video>``, …"""
_SINGLE = "image"
"""LLaVA's column; only where the text has an ``<image>``."""
_ANY = COLUMNS | {_SINGLE}
_PLACE = re.compile(r"(<image>|<video>|<audio>)")


def placed(messages: list[Message], row: Message) -> tuple[list[Message], frozenset[str]]:
    """Return the messages with ``<image>``, ``<video>``, ``<audio>``, and parts of such a type
    without a source, replaced by what the columns of the row hold, in order; and the columns that
    are used up with that.

    Raises RowProblem where a column holds more or fewer than the messages name.
    """
    if row.keys().isdisjoint(_ANY):
        return messages, frozenset()
    waiting = {column[:-1]: _listed(row[column]) for column in COLUMNS if row.get(column)}
    taken = COLUMNS
    if _SINGLE not in waiting and row.get(_SINGLE) and _names_a_picture(messages):
        waiting[_SINGLE] = _listed(row[_SINGLE])
        taken = _ANY
    if not waiting:
        return messages, taken
    filling = _Filling(waiting)
    filled = [filling.message(message) for message in messages]
    for kind, sources in waiting.items():
        named = filling.named[kind]
        if named != len(sources):
            raise RowProblem(
                "image_missing",
                f"the row holds {plural(len(sources), kind)}, its messages name {named:,}",
                f"write <{kind}> in the text once for each",
            )
    return filled, taken


def picture(url: str, **more: Any) -> dict[str, Any]:
    """Return the part for a picture, as OpenAI writes it; ``more`` is what else is known of it."""
    return {"type": "image_url", "image_url": {"url": url}, **more}


def data_url(media_type: str, data: Any) -> str:
    """Return base64 text as a URL that holds it."""
    return f"data:{media_type};base64,{data}"


class _Filling:
    """Goes through messages and hands out what the columns hold, one for each place."""

    def __init__(self, waiting: dict[str, list[Any]]) -> None:
        self._waiting = waiting
        self.named = dict.fromkeys(waiting, 0)

    def message(self, message: Message) -> Message:
        content = message["content"]
        if isinstance(content, str):
            pieces = [piece for piece in _PLACE.split(content) if piece]
            if not any(self._is_place(piece) for piece in pieces):
                return message
            return {**message, "content": [self._piece(piece) for piece in pieces]}
        if isinstance(content, list):
            return {**message, "content": [self._part(part) for part in content]}
        return message

    def _is_place(self, piece: str) -> bool:
        return piece[:1] == "<" and piece[1:-1] in self._waiting and bool(_PLACE.fullmatch(piece))

    def _piece(self, piece: str) -> dict[str, Any]:
        return self._next(piece[1:-1]) if self._is_place(piece) else {"type": "text", "text": piece}

    def _part(self, part: dict[str, Any]) -> dict[str, Any]:
        empty = not any(value is not None for key, value in part.items() if key != "type")
        return self._next(part["type"]) if empty and part["type"] in self._waiting else part

    def _next(self, kind: str) -> dict[str, Any]:
        sources, number = self._waiting[kind], self.named[kind]
        self.named[kind] += 1
        source = sources[number] if number < len(sources) else None
        if kind == "image" and isinstance(source, str):
            return picture(source)
        return {"type": kind, kind: source}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _names_a_picture(messages: list[Message]) -> bool:
    return any(isinstance(m["content"], str) and "<image>" in m["content"] for m in messages)
