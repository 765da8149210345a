"""Pictures and other media in messages: where they are, of what type, how large, how many.

An address is only read, never opened: neither a file of this machine nor one of another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ftwizard.data.checks.found import Found
from ftwizard.data.checks.turns import all_turns, name_in
from ftwizard.data.example import Example, Message
from ftwizard.data.quoted import quoted
from ftwizard.data.targets import Images, Target
from ftwizard.text import plural, size

_WORDS = (None, "text", "refusal", "reasoning", "thinking", "reasoningContent", "cachePoint")
"""Types of parts that are no media."""
_PICTURES = ("image_url", "image")
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):")
_DATA = re.compile(r"data:([^,;]{0,100})((?:;[^,;]{0,100})*),", re.IGNORECASE)
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_ENDING = re.compile(r"\.(gif|bmp|tiff?|svg|pdf|heic|heif|avif|ico)(?:$|[?#])", re.IGNORECASE)
# How a file of each type begins, in base64.
_BEGINS = {
    "iVBORw0KGgo": "png", "/9j/": "jpeg", "R0lGOD": "gif", "UklGR": "webp", "Qk": "bmp",
    "SUkqA": "tiff", "TU0AK": "tiff", "JVBERi": "pdf", "PHN2Zy": "svg", "PD94bW": "svg",
}  # fmt: skip
_NAMES = {"jpg": "jpeg", "tif": "tiff", "svg+xml": "svg"}


def check(example: Example, target: Target) -> Iterator[Found]:
    """Yield what is wrong with the pictures and other media of a row."""
    turns = all_turns(example)
    if not any(isinstance(message.get("content"), list) for message in turns):
        return
    pictures: list[tuple[str, Message, dict[str, Any]]] = []
    others: list[tuple[str, str]] = []
    for number, message in enumerate(turns, 1):
        for part in _parts(message):
            kind = part.get("type")
            if kind in _PICTURES:
                pictures.append((name_in(example, number, message), message, part))
            elif kind not in _WORDS:
                others.append((name_in(example, number, message), str(kind)))
    yield from _media(others, target)
    if not pictures:
        return
    if target.images is None:
        yield Found(
            "images_unsupported",
            f"{pictures[0][0]} holds a picture; {target.words} takes text only",
            "leave such rows out, or choose a target that takes pictures",
        )
        return
    yield from _how_many(len(pictures), others, target, target.images)
    for where, message, part in pictures:
        yield from _where(where, message, target, target.images)
        yield from _picture(part, where, target, target.images)
    if target.images.all_rows:
        yield from _one_form(turns)


def has_images(example: Example) -> bool:
    """Tell whether any message of a row holds a picture."""
    return any(
        part.get("type") in _PICTURES for message in all_turns(example) for part in _parts(message)
    )


def _parts(message: Message) -> list[dict[str, Any]]:
    content = message.get("content")
    if not isinstance(content, list):
        return []
    return [part for part in content if isinstance(part, dict)]


def _media(others: list[tuple[str, str]], target: Target) -> Iterator[Found]:
    for where, kind in others:
        if kind not in target.media:
            yield Found(
                "media_unsupported",
                f"{where} holds a part of the type {quoted(kind, 30)}, which {target.words} does "
                "not take",
                "leave such rows out, or choose a target that takes them",
            )
            return


def _how_many(
    count: int, others: list[tuple[str, str]], target: Target, images: Images
) -> Iterator[Found]:
    if images.most is not None and count > images.most:
        yield Found(
            "image_count",
            f"{count} pictures; {target.words} takes {images.most} a row at most",
            "split the row or leave pictures out",
        )
    if images.or_video and any(kind == "video" for _, kind in others):
        yield Found(
            "image_count",
            f"{plural(count, 'picture')} and a video; {target.words} takes either in a row",
            "keep the pictures or the video",
        )


def _where(where: str, message: Message, target: Target, images: Images) -> Iterator[Found]:
    if message.get("role") not in images.roles:
        yield Found(
            "image_role",
            f"{where} holds a picture; {target.words} takes them in messages of the role "
            f"{' or '.join(images.roles)} only",
            "move the picture to the user's message",
        )
    if images.unlearnt and message.get("weight") not in (None, 0):
        yield Found(
            "weight",
            f"{where} holds a picture and has a weight other than 0",
            "give it the weight 0, or none: pictures are not learnt to be written",
        )


def _picture(part: dict[str, Any], where: str, target: Target, images: Images) -> Iterator[Found]:
    value = part.get("image_url", part.get("url"))
    url = value.get("url") if isinstance(value, dict) else value
    if isinstance(value, str) and target.hosted:
        yield Found(
            "image_url",
            f"the picture in {where} is text, not an object with a url",
            'write it as {"type": "image_url", "image_url": {"url": …}}',
        )
    if not isinstance(url, str) or not url.strip():
        yield Found(
            "image_url",
            f"{where} holds a picture without an address",
            'write it as {"type": "image_url", "image_url": {"url": …}}',
        )
        return
    scheme = match[1].lower() if (match := _SCHEME.match(url)) else ""
    if scheme not in images.schemes:
        shown = f"begins with {quoted(scheme, 20)}:" if scheme else "is no URL, but a path"
        yield Found(
            "image_url",
            f"the address of the picture in {where} {shown}; {target.words} takes "
            + _schemes(images),
            "put the picture itself into the row, as a data URL"
            if "data" in images.schemes
            else f"store the picture there and give its {images.schemes[0]}:// address",
        )
    elif scheme == "data":
        yield from _data(url, where, target, images)
    elif kind := _told(part, url):
        yield from _type(kind, where, target, images)


def _told(part: dict[str, Any], url: str) -> str | None:
    """Return the type that a row says a picture has, or else its address."""
    for key in ("media_type", "format"):
        if isinstance(value := part.get(key), str):
            return value.lower().removeprefix("image/")
    return match[1].lower() if (match := _ENDING.search(url)) else None


def _schemes(images: Images) -> str:
    names = ["data URLs" if name == "data" else f"{name}://" for name in images.schemes]
    return " or ".join(names)


def _data(url: str, where: str, target: Target, images: Images) -> Iterator[Found]:
    head = _DATA.match(url)
    if head is None or not head[2].lower().endswith(";base64"):
        yield Found(
            "image_url",
            f"the data URL of the picture in {where} is not in base64",
            "write it as data:image/png;base64,…",
        )
        return
    mime = head[1].lower()
    start = url[head.end() : head.end() + 12]
    begins = next((kind for mark, kind in _BEGINS.items() if start.startswith(mark)), None)
    if not mime.startswith("image/"):
        yield from _type(mime or "nothing", where, target, images)
    else:
        declared = mime.removeprefix("image/")
        yield from _type(declared, where, target, images)
        if begins is not None and begins != _NAMES.get(declared, declared):
            yield from _type(begins, where, target, images)
    yield from _encoded(url, head.end(), where, target, images)


def _type(kind: str, where: str, target: Target, images: Images) -> Iterator[Found]:
    if images.types and kind not in images.types:
        name = _NAMES.get(kind)
        hint = f" ({kind} is written {name})" if name in images.types else ""
        yield Found(
            "image_type",
            f"the picture in {where} is {quoted(kind, 30)}{hint}; {target.words} takes "
            f"{', '.join(images.types)}",
            "convert the picture",
        )


def _encoded(url: str, start: int, where: str, target: Target, images: Images) -> Iterator[Found]:
    """Look at base64 without decoding it: its alphabet, its length, what it comes to in bytes."""
    try:
        body = url[start:].encode("ascii")
    except UnicodeEncodeError:
        body = b"?"
    letters = body.rstrip(b"=")
    padding = len(body) - len(letters)
    if not letters or padding > 2 or len(body) % 4 or letters.translate(None, _BASE64):
        yield Found(
            "image_url",
            f"the base64 of the picture in {where} is cut off or damaged ({len(body):,} characters)",
            "encode the picture anew, without line breaks",
        )
        return
    count = len(letters) * 3 // 4
    if images.max_bytes is not None and count > images.max_bytes:
        yield Found(
            "image_size",
            f"the picture in {where} has {size(count)}; {target.words} takes "
            f"{size(images.max_bytes)} at most",
            "make it smaller: models see few pixels of it anyway",
        )


def _one_form(turns: list[Message]) -> Iterator[Found]:
    for number, message in enumerate(turns, 1):
        if isinstance(message.get("content"), str):
            yield Found(
                "image_mixed",
                f"message {number} is text, and others of the row are lists of parts",
                'write every content of a row with pictures as a list: [{"type": "text", …}]',
            )
            return
