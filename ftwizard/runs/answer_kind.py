"""Kinds of expected answers, and whether an answer is right: JSON, short answers, free text."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from typing import Any, Literal

from ftwizard.rewards.recognized_answers import are_short

AnswerKind = Literal["json", "short", "text"]
"""``json``: objects, compared by value; ``short``: labels and short facts, compared as text; ``text``:
free text, which has no single right wording."""


def find_kind(expected: Sequence[str], *, is_json: bool) -> AnswerKind:
    """Return the kind of the expected answers; ``is_json``: whether all of them are JSON objects."""
    if is_json:
        return "json"
    return "short" if are_short(expected) else "text"


def is_match(kind: AnswerKind, answer: str, expected: str) -> bool:
    """Return whether an answer is the expected one.

    JSON is compared by value: the order of keys and white space do not matter. Other answers are
    compared without case, surrounding punctuation and repeated white space.
    """
    if kind == "json":
        value = _parse(answer)
        return value is not None and value == _parse(expected)
    return _normalize(answer) == _normalize(expected)


def score_fields(answer: str, expected: str) -> float:
    """Return the share of JSON fields that are right, 0–1.

    Extra fields count as wrong; an answer that is not a JSON object scores 0. Nested values are one
    field each.
    """
    wanted, value = _parse(expected), _parse(answer)
    if not isinstance(wanted, dict) or not isinstance(value, dict):
        return 0.0
    names = wanted.keys() | value.keys()
    missing = object()
    right = sum(value.get(name, missing) == wanted.get(name, missing) for name in names)
    return right / len(names) if names else 1.0


def _parse(text: str) -> Any:
    """Return the JSON value of a text, None if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _normalize(text: str) -> str:
    words = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return words.strip("\"'`“”‘’*.,;:!?() ") or words
