"""Groups of rows that must stay on one side of a split, and the strata that they are drawn from.

Rows stay together if they share a prompt, also that of an earlier turn, ignoring case and white
space; if they are near-duplicates; or if their prompts are. Groups depend only on the contents of
rows, not on their order.
"""

from __future__ import annotations

import bisect
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ftwizard.data.dedup import canonical_text
from ftwizard.data.dedup.near_duplicates import NearIndex, UnionFind
from ftwizard.data.example import Example

_MIN_TURN_CHARACTERS = 20
"""A shorter first turn, such as “hi”, does not tie conversations together."""
_KEY_BYTES = 16
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
_LABELS = {None: "", True: "wanted", False: "unwanted"}
_STARTS = [start for start, _ in _SCRIPTS]


class Group(NamedTuple):
    """Rows that stay together."""

    indexes: list[int]
    """Indexes of its rows in the file, from 0, in ascending order."""
    kind: str
    """The stratum of its first row."""
    rank: bytes
    """Its position in a random draw, derived from the seed and its rows."""


def groups(examples: list[Example], seed: int) -> list[Group]:
    """Group all rows; sort the groups by kind, then in random order."""
    keys = [_prompt_keys(example) for example in examples]
    sets = UnionFind()
    first: dict[bytes, int] = {}
    for index, row_keys in enumerate(keys):
        for key in row_keys:
            sets.join(first.setdefault(key, index), index)
    for text_of in (canonical_text.row_text, canonical_text.prompt_text):
        _join_duplicates(sets, examples, text_of)
    members: dict[int, list[int]] = {}
    for index in range(len(examples)):
        members.setdefault(sets.root(index), []).append(index)
    kinds = describe_kinds(examples)
    result = []
    for indexes in members.values():
        key, kind = min((keys[i][-1], kinds[i]) for i in indexes)
        result.append(Group(indexes, kind, rank(key, seed)))
    return sorted(result, key=lambda group: (group.kind, group.rank))


def prompt_key(example: Example) -> bytes:
    """Return a key that is equal for rows with the same prompt, ignoring case and white space."""
    return _prompt_keys(example)[-1]


def rank(key: bytes, seed: int) -> bytes:
    """Return the position of ``key`` in a random draw, the same on every machine."""
    return hashlib.blake2b(b"%d %b" % (seed, key), digest_size=_KEY_BYTES).digest()


def _prompt_keys(example: Example) -> list[bytes]:
    """Return a key for the messages before each answer; the last is that of the row's prompt."""
    digest = hashlib.blake2b(digest_size=_KEY_BYTES)
    keys: list[bytes] = []
    size = 0
    for message in canonical_text.split_at_answer(example)[0]:
        if message.get("role") == "assistant" and size >= _MIN_TURN_CHARACTERS:
            keys.append(digest.digest())
        if text := canonical_text.normalize_text(canonical_text.messages_text([message])):
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
            size += len(text)
    if size:
        return [*keys, digest.digest()]
    return [*keys, _hash_text(canonical_text.normalize_text(canonical_text.row_text(example)))]


def _join_duplicates(
    sets: UnionFind, examples: list[Example], text_of: Callable[[Example], str]
) -> None:
    index = NearIndex(lambda number: text_of(examples[number]))
    first: dict[bytes, int] = {}
    for number, example in enumerate(examples):
        text = text_of(example)
        earlier = first.setdefault(_hash_text(text), number)
        if earlier == number:
            index.add(number, text)
        elif text:
            sets.join(earlier, number)
    for group in index.groups():
        for number in group[1:]:
            sets.join(group[0], number)


def _hash_text(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()


def describe_kinds(examples: list[Example]) -> list[str]:
    """Return the kind of each row in words, equal for rows of one kind.

    Kinds are made from features that differ between rows: label, a field with few values, repeated
    answers, one or several answers, tools, and script.
    """
    columns = [
        [_LABELS[row.label] for row in examples],
        _find_field(examples),
        _format_answers(examples),
        ["several answers" if _has_several_answers(row) else "one answer" for row in examples],
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
    return _shorten(str(value)) if isinstance(value, str | bool | int) else ""


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _format_answers(examples: list[Example]) -> list[str]:
    values = [
        _shorten(canonical_text.messages_text(canonical_text.split_at_answer(row)[1]).strip())
        for row in examples
    ]
    return values if _count_kinds(values) else [""] * len(values)


def _count_kinds(values: Iterable[str]) -> int:
    """Return the number of distinct values; 0 if there is only one, or too many."""
    counts = Counter(values)
    is_too_many = len(counts) > _MAX_KINDS or counts.total() < _MIN_ROWS_PER_KIND * len(counts)
    return 0 if is_too_many or len(counts) < 2 else len(counts)


def _has_several_answers(example: Example) -> bool:
    return [message["role"] for message in example.messages].count("assistant") > 1


def _detect_script(text: str) -> str:
    """Return the script of most letters in ``text``."""
    if text.isascii():
        return "Latin"
    tally = Counter(
        _SCRIPTS[bisect.bisect_right(_STARTS, ord(char)) - 1][1] for char in text if char.isalpha()
    )
    return max(sorted(tally), key=tally.__getitem__, default="Latin")
