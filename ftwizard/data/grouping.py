"""Which rows must stay on one side of a split.

Rows stay together if they have a prompt in common, case and white space apart, also that of an
earlier turn; if they are near copies; or if their prompts are. All of it is told by what the rows
say, never by their places: the order of a file changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from ftwizard.data import kinds, said
from ftwizard.data.duplicates import NearIndex
from ftwizard.data.example import Example
from ftwizard.data.joined import Joined

_MIN_TURN_CHARACTERS = 20
"""A shorter beginning (“hi”) is no prompt that makes two conversations one."""
_KEY_BYTES = 16


class Group(NamedTuple):
    """Rows that stay together."""

    places: list[int]
    """Of its rows in the file, from 0, in ascending order."""
    kind: str
    """Of the row that leads it."""
    rank: bytes
    """Where it stands in a draw: what a seed makes of what its rows say."""


def groups(examples: list[Example], seed: int) -> list[Group]:
    """Return all rows in groups, by their kinds, those of a kind in the order of a draw."""
    keys = [_prompt_keys(one) for one in examples]
    joined = Joined()
    first: dict[bytes, int] = {}
    for place, own in enumerate(keys):
        for key in own:
            joined.join(first.setdefault(key, place), place)
    for text_of in (said.row, said.prompt):
        _join_copies(joined, examples, text_of)
    members: dict[int, list[int]] = {}
    for place in range(len(examples)):
        members.setdefault(joined.root(place), []).append(place)
    named = kinds.of(examples)
    found = []
    for places in members.values():
        key, kind = min((keys[place][-1], named[place]) for place in places)
        found.append(Group(places, kind, rank(key, seed)))
    return sorted(found, key=lambda group: (group.kind, group.rank))


def prompt_key(one: Example) -> bytes:
    """Return the same for two rows with the same prompt, case and white space apart."""
    return _prompt_keys(one)[-1]


def rank(key: bytes, seed: int) -> bytes:
    """Return where ``key`` stands in a draw: the same everywhere, in no order that data could have."""
    return hashlib.blake2b(b"%d %b" % (seed, key), digest_size=_KEY_BYTES).digest()


def _prompt_keys(one: Example) -> list[bytes]:
    """Return a key of what stands before each answer; the last is that of the row's own prompt."""
    hashed = hashlib.blake2b(digest_size=_KEY_BYTES)
    found: list[bytes] = []
    size = 0
    for message in said.divided(one)[0]:
        if message.get("role") == "assistant" and size >= _MIN_TURN_CHARACTERS:
            found.append(hashed.digest())
        if text := said.normal(said.said([message])):
            hashed.update(text.encode("utf-8", "surrogatepass") + b"\0")
            size += len(text)
    return [*found, hashed.digest() if size else _key(said.normal(said.row(one)))]


def _join_copies(
    joined: Joined, examples: list[Example], text_of: Callable[[Example], str]
) -> None:
    index = NearIndex(lambda place: text_of(examples[place]))
    seen: dict[bytes, int] = {}
    for place, one in enumerate(examples):
        text = text_of(one)
        other = seen.setdefault(_key(text), place)
        if other == place:
            index.add(place, text)
        elif text:
            joined.join(other, place)
    for group in index.groups():
        for place in group[1:]:
            joined.join(group[0], place)


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()
