"""Groups of rows that must stay on one side of a split.

Rows stay together if they share a prompt, also that of an earlier turn, ignoring case and white
space; if they are near-duplicates; or if their prompts are. Groups depend only on the contents of
rows, not on their order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from ftwizard.data import strata
from ftwizard.data.dedup import canonical_text
from ftwizard.data.dedup.near_duplicates import NearIndex, UnionFind
from ftwizard.data.example import Example

_MIN_TURN_CHARACTERS = 20
"""A shorter first turn, such as “hi”, does not tie conversations together."""
_KEY_BYTES = 16


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
    kinds = strata.describe_kinds(examples)
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
    return [
        *keys,
        digest.digest()
        if size
        else _hash_text(canonical_text.normalize_text(canonical_text.row_text(example))),
    ]


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
