"""Text quality: control, invisible and bidirectional characters, mojibake, control tokens of chat
templates, HTML and placeholders."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ftwizard.data import characters, triggers
from ftwizard.data.checks import special
from ftwizard.data.checks.found import Found
from ftwizard.data.checks.turns import format_location, get_texts, list_all_messages
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
    """Yield the findings about the texts of a row."""
    turns = list_all_messages(example)
    row_texts = [text for message in turns for text in get_texts(message)]
    if isinstance(example.text, str):
        row_texts.append(example.text)
    suspected = triggers.match_text("\n".join(row_texts))
    if not suspected:
        return
    checks = [check_text for name, check_text in _CHECKS.items() if name in suspected]
    for number, message in enumerate(turns, 1):
        for text in get_texts(message):
            for check_text in checks:
                if finding := check_text(text, format_location(example, number, message)):
                    yield finding
    if isinstance(example.text, str):
        for check_text in checks:
            # Plain text may legitimately be written in a model's own template.
            if check_text is not _check_special and (
                finding := check_text(example.text, "the text")
            ):
                yield finding


def _check_control(text: str, where: str) -> Found | None:
    if (match := characters.CONTROL.search(text)) is None:
        return None
    return Found(
        "control_char",
        f"{where} contains the control character U+{ord(match[0]):04X}",
        "remove it: terminals obey it, and the model would learn to write it",
    )


def _check_bidi(text: str, where: str) -> Found | None:
    if (match := characters.BIDI.search(text)) is None:
        return None
    return Found(
        "bidi",
        f"{where} contains the bidirectional control U+{ord(match[0]):04X}",
        "remove it unless intended: people and the model read different texts",
    )


def _check_hidden(text: str, where: str) -> Found | None:
    if (match := characters.HIDDEN.search(characters.FLAG.sub("", text))) is None:
        return None
    return Found(
        "hidden_text",
        f"{where} contains the invisible character U+{ord(match[0][0]):04X}",
        "remove it: people do not see it, but the model learns it",
    )


def _check_replacement(text: str, where: str) -> Found | None:
    if "\ufffd" not in text:
        return None
    return Found(
        "replacement_char",
        f"{where} contains U+FFFD, which replaces bytes that could not be decoded",
        "recreate the file from its source with the right encoding",
    )


def _check_mojibake(text: str, where: str) -> Found | None:
    if not characters.is_mojibake(text):
        return None
    return Found(
        "mojibake",
        f"{where} was decoded with the wrong encoding (such as “Ã©” for “é”)",
        "recreate the file as UTF-8, or fix it: ftwizard check DATA --fix OUT",
    )


def _check_page(text: str, where: str) -> Found | None:
    if _PAGE.search(text) is None or _PAGE.search(_CODE.sub("", text)) is None:
        return None
    return Found(
        "artifact",
        f"{where} contains HTML of a web page",
        "keep only its text, unless the model should write HTML",
    )


def _check_placeholder(text: str, where: str) -> Found | None:
    if (
        _PLACEHOLDER.search(text) is None
        or (match := _PLACEHOLDER.search(_CODE.sub("", text))) is None
    ):
        return None
    return Found(
        "placeholder",
        f"{where} contains the unfilled placeholder “{quoted(match[0], 40)}”",
        "fill in the text or delete the row",
    )


def _check_no_value(text: str, where: str) -> Found | None:
    if (word := text.strip()) not in _NO_VALUE:
        return None
    return Found(
        "placeholder",
        f"{where} is “{word}”, which programs write for a missing value",
        "fill in the text or delete the row",
    )


def _check_special(text: str, where: str) -> Found | None:
    if (token := special.find_control_token(text)) is None:
        return None
    return Found(
        "special_token",
        f"{where} contains “{quoted(token[0], 40)}”, a control token of {token[1]}",
        "remove it: such models obey it anywhere in the text",
    )


_CHECKS: dict[str, Callable[[str, str], Found | None]] = {
    "control": _check_control,
    "separator": _check_control,
    "bidi": _check_bidi,
    "hidden": _check_hidden,
    "replacement": _check_replacement,
    "mojibake": _check_mojibake,
    "page": _check_page,
    "placeholder": _check_placeholder,
    "no_value": _check_no_value,
    "special": _check_special,
}
"""By the name of the expression in ``triggers`` that calls for the check."""
