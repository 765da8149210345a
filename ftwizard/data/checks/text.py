"""Text that is not what it looks like: controls, hidden and reversed characters, wrong decoding,
the control language of chat models, and what stands where text is missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ftwizard.data import characters, triggers
from ftwizard.data.checks import special
from ftwizard.data.checks.found import Found
from ftwizard.data.checks.turns import all_turns, name_in, texts
from ftwizard.data.example import Example
from ftwizard.data.quoted import quoted
from ftwizard.data.targets import Target

_PAGE = re.compile(r"<!doctype html|<html[\s>]|<body[\s>]|<script[\s>]", re.IGNORECASE)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_PLACEHOLDER = re.compile(
    r"\[object Object\]|\blorem ipsum\b|(?<![${])\{\{ ?[a-z_][a-z0-9_]* ?\}\}(?!\})", re.IGNORECASE
)
_NO_VALUE = frozenset({"nan", "NaN", "NaT", "<NA>", "undefined", "#REF!", "#N/A", "#VALUE!"})


def check(example: Example, target: Target) -> Iterator[Found]:
    """Yield what is in the texts of a row."""
    turns = all_turns(example)
    everything = [text for message in turns for text in texts(message)]
    if isinstance(example.text, str):
        everything.append(example.text)
    suspected = triggers.in_text("\n".join(everything))
    if not suspected:
        return
    checks = [of for name, of in _CHECKS.items() if name in suspected]
    for number, message in enumerate(turns, 1):
        for text in texts(message):
            for of in checks:
                if found := of(text, name_in(example, number, message)):
                    yield found
    if isinstance(example.text, str):
        for of in checks:
            # Plain text may well be written in a model's own template.
            if of is not _special and (found := of(example.text, "the text")):
                yield found


def _control(text: str, where: str) -> Found | None:
    if (found := characters.CONTROL.search(text)) is None:
        return None
    return Found(
        "control_char",
        f"{where} holds the control character U+{ord(found[0]):04X}",
        "take it out: terminals obey it, and the model would learn to write it",
    )


def _bidi(text: str, where: str) -> Found | None:
    if (found := characters.BIDI.search(text)) is None:
        return None
    return Found(
        "bidi",
        f"{where} turns its reading direction with U+{ord(found[0]):04X}",
        "take it out unless you put it there: people read another text than the model",
    )


def _hidden(text: str, where: str) -> Found | None:
    if (found := characters.HIDDEN.search(characters.FLAG.sub("", text))) is None:
        return None
    return Found(
        "hidden_text",
        f"{where} holds the invisible character U+{ord(found[0][0]):04X}",
        "take it out: nobody sees it, and the model learns it",
    )


def _replacement(text: str, where: str) -> Found | None:
    if "\ufffd" not in text:
        return None
    return Found(
        "replacement_char",
        f"{where} holds U+FFFD, which stands for bytes that could not be read",
        "make the file anew from its source, with the right encoding",
    )


def _mojibake(text: str, where: str) -> Found | None:
    if not characters.is_mojibake(text):
        return None
    return Found(
        "mojibake",
        f"{where} was read in the wrong encoding (“Ã©” where “é” was meant)",
        "make the file anew as UTF-8, or mend it: ftwizard check DATA --fix OUT",
    )


def _page(text: str, where: str) -> Found | None:
    if _PAGE.search(text) is None or _PAGE.search(_CODE.sub("", text)) is None:
        return None
    return Found(
        "artifact",
        f"{where} is or holds a web page's source",
        "if that is not what is to be learnt, keep its text only",
    )


def _placeholder(text: str, where: str) -> Found | None:
    if (
        _PLACEHOLDER.search(text) is None
        or (found := _PLACEHOLDER.search(_CODE.sub("", text))) is None
    ):
        return None
    return Found(
        "placeholder",
        f"{where} holds “{quoted(found[0], 40)}”, which stands for text that is missing",
        "put the text in its place or delete the row",
    )


def _no_value(text: str, where: str) -> Found | None:
    if (word := text.strip()) not in _NO_VALUE:
        return None
    return Found(
        "placeholder",
        f"{where} is “{word}”, which a table or a program writes where there is nothing",
        "put the text in its place or delete the row",
    )


def _special(text: str, where: str) -> Found | None:
    if (found := special.find(text)) is None:
        return None
    return Found(
        "special_token",
        f"{where} holds “{quoted(found[0], 40)}”, a control token of {found[1]}",
        "take it out: models that know it obey it, wherever it stands",
    )


_CHECKS: dict[str, Callable[[str, str], Found | None]] = {
    "control": _control,
    "separator": _control,
    "bidi": _bidi,
    "hidden": _hidden,
    "replacement": _replacement,
    "mojibake": _mojibake,
    "page": _page,
    "placeholder": _placeholder,
    "no_value": _no_value,
    "special": _special,
}
"""By the expression of ``triggers`` that makes them needed."""
