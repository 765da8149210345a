"""Strata of rows, by cheap features, so that splits can be stratified."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable

from ftwizard.data.dedup import canonical_text
from ftwizard.data.example import Example

_MAX_KINDS = 20
_MIN_ROWS_PER_KIND = 10
"""Minimum average rows per value: smaller strata cannot be divided in proportion."""
_MIN_COVERAGE = 0.9
"""Minimum share of rows that must have a field for it to define strata."""
_SHOWN_CHARACTERS = 40
"""Characters of a value or an answer that distinguish it."""
_SCRIPT_CHARACTERS = 200
_SCRIPTS = (
    (0x0000, "Latin"), (0x0370, "Greek"), (0x0400, "Cyrillic"), (0x0530, "Armenian"),
    (0x0590, "Hebrew"), (0x0600, "Arabic"), (0x0900, "Indic"), (0x0E00, "Thai"), (0x0F00, "other"),
    (0x1100, "Hangul"), (0x1200, "other"), (0x1E00, "Latin"), (0x1F00, "Greek"), (0x2000, "other"),
    (0x3040, "Han or Kana"), (0xAC00, "Hangul"), (0xD800, "other"), (0xF900, "Han or Kana"),
    (0xFB00, "other"), (0x20000, "Han or Kana"), (0x40000, "other"),
)  # fmt: skip
"""Scripts by first code point."""
_STARTS = [start for start, _ in _SCRIPTS]


def describe_kinds(examples: list[Example]) -> list[str]:
    """Return the kind of each row in words, equal for rows of one kind.

    Kinds are made from features that differ between rows: label, a field with few values, repeated
    answers, one or several answers, tools, and script.
    """
    columns = [
        [
            "" if row.label is None else f"{'wanted' if row.label else 'unwanted'}"
            for row in examples
        ],
        _find_field(examples),
        _format_answers(examples),
        ["several answers" if _count_answers(row) > 1 else "one answer" for row in examples],
        ["tools" if row.tools else "no tools" for row in examples],
        [_detect_script(canonical_text.row_text(row)[:_SCRIPT_CHARACTERS]) for row in examples],
    ]
    distinguishing = [column for column in columns if len(set(column)) > 1]
    if not distinguishing:
        return ["all"] * len(examples)
    return [", ".join(filter(None, values)) for values in zip(*distinguishing, strict=True)]


def _find_field(examples: list[Example]) -> list[str]:
    """Return the values of the field with the most kinds; of equals, the first by name."""
    names = {name for row in examples for name in row.extra}
    best: list[str] = []
    for name in sorted(names):
        values = [_format_value(row.extra.get(name)) for row in examples]
        filled = sum(map(bool, values))
        if filled >= _MIN_COVERAGE * len(values) and _count_kinds(values) > _count_kinds(best):
            best = values
    return best or [""] * len(examples)


def _format_value(value: object) -> str:
    return str(value)[:_SHOWN_CHARACTERS] if isinstance(value, str | bool | int) else ""


def _format_answers(examples: list[Example]) -> list[str]:
    values = [
        canonical_text.messages_text(canonical_text.split_at_answer(row)[1]).strip()[
            :_SHOWN_CHARACTERS
        ]
        for row in examples
    ]
    return values if _count_kinds(values) else [""] * len(values)


def _count_kinds(values: Iterable[str]) -> int:
    """Return the number of distinct values; 0 if there is only one, or too many."""
    counts = Counter(values)
    is_too_many = len(counts) > _MAX_KINDS or counts.total() < _MIN_ROWS_PER_KIND * len(counts)
    return 0 if is_too_many or len(counts) < 2 else len(counts)


def _count_answers(example: Example) -> int:
    return sum(message.get("role") == "assistant" for message in example.messages)


def _detect_script(text: str) -> str:
    """Return the script of most letters in ``text``."""
    if text.isascii():
        return "Latin"
    tally = Counter(
        _SCRIPTS[bisect.bisect_right(_STARTS, ord(char)) - 1][1] for char in text if char.isalpha()
    )
    return max(sorted(tally), key=tally.__getitem__, default="Latin")
