"""What kind of row each is, as far as it is cheap to tell, so that a split can keep the shares."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable

from ftwizard.data import said
from ftwizard.data.example import Example

_FEW = 20
_ROWS_A_VALUE = 10
"""On average, at least: what fewer rows have in common cannot stand on both sides in its share."""
_COVERED = 0.9
"""Of the rows must have a field that tells them apart."""
_SHOWN_CHARACTERS = 40
"""Of a value or an answer, which tell it from the others."""
_SCRIPT_CHARACTERS = 200
_SCRIPTS = (
    (0x0000, "Latin"), (0x0370, "Greek"), (0x0400, "Cyrillic"), (0x0530, "Armenian"),
    (0x0590, "Hebrew"), (0x0600, "Arabic"), (0x0900, "Indic"), (0x0E00, "Thai"), (0x0F00, "other"),
    (0x1100, "Hangul"), (0x1200, "other"), (0x1E00, "Latin"), (0x1F00, "Greek"), (0x2000, "other"),
    (0x3040, "Han or Kana"), (0xAC00, "Hangul"), (0xD800, "other"), (0xF900, "Han or Kana"),
    (0xFB00, "other"), (0x20000, "Han or Kana"), (0x40000, "other"),
)  # fmt: skip
"""From which code point on letters are of which script."""
_STARTS = [start for start, _ in _SCRIPTS]


def of(examples: list[Example]) -> list[str]:
    """Return the kind of each row in words; two rows of one kind have the same.

    What counts, where it differs between rows: the label of an answer, a field of few values
    answer or several, tools or none, the script.
    """
    columns = [
        [
            "" if one.label is None else f"{'wanted' if one.label else 'unwanted'}"
            for one in examples
        ],
        _field(examples),
        _answers(examples),
        ["several answers" if _answer_count(one) > 1 else "one answer" for one in examples],
        ["tools" if one.tools else "no tools" for one in examples],
        [_script(said.row(one)[:_SCRIPT_CHARACTERS]) for one in examples],
    ]
    telling = [column for column in columns if len(set(column)) > 1]
    if not telling:
        return ["all"] * len(examples)
    return [", ".join(filter(None, values)) for values in zip(*telling, strict=True)]


def _field(examples: list[Example]) -> list[str]:
    """Return the values of the field that tells most kinds apart; of equals the first by name."""
    names = {name for one in examples for name in one.extra}
    best: list[str] = []
    for name in sorted(names):
        values = [_value(one.extra.get(name)) for one in examples]
        told = sum(map(bool, values))
        if told >= _COVERED * len(values) and _tells(values) > _tells(best):
            best = values
    return best or [""] * len(examples)


def _value(value: object) -> str:
    return str(value)[:_SHOWN_CHARACTERS] if isinstance(value, str | bool | int) else ""


def _answers(examples: list[Example]) -> list[str]:
    values = [said.said(said.divided(one)[1]).strip()[:_SHOWN_CHARACTERS] for one in examples]
    return values if _tells(values) else [""] * len(values)


def _tells(values: Iterable[str]) -> int:
    """Return how many kinds ``values`` tell apart; 0 for one kind, or for too many."""
    counts = Counter(values)
    many = len(counts) > _FEW or counts.total() < _ROWS_A_VALUE * len(counts)
    return 0 if many or len(counts) < 2 else len(counts)


def _answer_count(one: Example) -> int:
    return sum(message.get("role") == "assistant" for message in one.messages)


def _script(text: str) -> str:
    """Return the script that most letters of ``text`` are of."""
    if text.isascii():
        return "Latin"
    tally = Counter(
        _SCRIPTS[bisect.bisect_right(_STARTS, ord(char)) - 1][1] for char in text if char.isalpha()
    )
    return max(sorted(tally), key=tally.__getitem__, default="Latin")
