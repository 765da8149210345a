"""Text that is not what it looks like: controls, hidden and reversed characters, wrong decoding."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ftwizard.data.conversation import Conversation, Message

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
# Not U+200C and U+200D, which Persian, Indic scripts and emoji need.
_HIDDEN = re.compile("[\u200b\u2060-\u2064\ufeff\U000e0000-\U000e007f]")
# Flags of regions (England, Scotland, Wales) are spelt in tag characters after a black flag.
_FLAG = re.compile("\U0001f3f4[\U000e0061-\U000e007a\U000e0030-\U000e0039]+\U000e007f")
_PAGE = re.compile(r"<!doctype html|<html[\s>]|<body[\s>]|<script[\s>]", re.IGNORECASE)
_FENCE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_PLACEHOLDER = re.compile(r"\[object Object\]|\blorem ipsum\b", re.IGNORECASE)
# What UTF-8 read as Windows-1252 or Latin-1 begins with; ftfy then judges the whole text.
_MAYBE_MOJIBAKE = re.compile("[\u00c2-\u00f4][\u0080-\u00bf\u0152-\u017e\u02c6\u02dc\u2013-\u2122]")


def check(conversation: Conversation) -> Iterator[tuple[str, str, str]]:
    """Yield code, message and fix of what is in the texts of a row."""
    for message in conversation.messages:
        content = message["content"]
        if isinstance(content, str) and content:
            yield from _of_text(content, _where(message))


def _where(message: Message) -> str:
    return "the answer" if message["role"] == "assistant" else f"the {message['role']}'s text"


def _of_text(text: str, where: str) -> Iterator[tuple[str, str, str]]:
    if found := _CONTROL.search(text):
        yield (
            "control_char",
            f"{where} holds the control character U+{ord(found[0]):04X}",
            "take it out: terminals obey it, and the model would learn to write it",
        )
    if not text.isascii():
        yield from _of_unicode(text, where)
    if _PAGE.search(text) and _PAGE.search(_FENCE.sub("", text)):
        yield (
            "artifact",
            f"{where} is or holds a web page's source",
            "if that is not what is to be learnt, keep its text only",
        )
    if found := _PLACEHOLDER.search(text):
        yield (
            "placeholder",
            f"{where} holds “{found[0]}”, which stands for text that is missing",
            "put the text in its place or delete the row",
        )


def _of_unicode(text: str, where: str) -> Iterator[tuple[str, str, str]]:
    if found := _BIDI.search(text):
        yield (
            "bidi",
            f"{where} turns its reading direction with U+{ord(found[0]):04X}",
            "take it out unless you put it there: people read another text than the model",
        )
    if (found := _HIDDEN.search(text)) and (found := _HIDDEN.search(_FLAG.sub("", text))):
        yield (
            "hidden_text",
            f"{where} holds the invisible character U+{ord(found[0]):04X}",
            "take it out: nobody sees it, and the model learns it",
        )
    if "\ufffd" in text:
        yield (
            "replacement_char",
            f"{where} holds U+FFFD, which stands for bytes that could not be read",
            "make the file anew from its source, with the right encoding",
        )
    if _MAYBE_MOJIBAKE.search(text) and _is_mojibake(text):
        yield (
            "mojibake",
            f"{where} was read in the wrong encoding (“Ã©” where “é” was meant)",
            "make the file anew as UTF-8, or repair it with: ftfy OLD -o NEW",
        )


def _is_mojibake(text: str) -> bool:
    from ftfy.badness import is_bad  # only rows that look like it pay for its tables

    return bool(is_bad(text))
