"""A few numbers a row, by which rows are compared over the whole file: 32 bytes each.

A row has a prompt and an answer, its last. What is equal as text is equal here, however the JSON
was written. Hashes are XXH3 of 64 bits: among 10 million different rows the chance that any two
share one is 3 in a million.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import xxhash

from ftwizard.data.example import Example, Message

SEPARATOR = b"\n\xff\n"
"""Stands between the messages of a prompt: no text in UTF-8 has such a byte."""
OPENING_BYTES = 24
"""The opening of an answer: its first bytes in UTF-8."""
NOTHING = 0
"""The hash of a prompt or an answer that is not there."""

_PLAIN = {"role", "content"}


class Facts:
    """Columns, one entry a row; rows in the order of the file."""

    __slots__ = ("answers", "lines", "openings", "prompts")

    def __init__(self) -> None:
        self.lines = array("Q")
        """1-based."""
        self.prompts = array("Q")
        self.answers = array("Q")
        self.openings = array("Q")

    def __len__(self) -> int:
        return len(self.lines)

    def add(self, line: int, example: Example) -> None:
        """Take in one row."""
        prompt, answer, opening = hashes(example)
        self.lines.append(line)
        self.prompts.append(prompt)
        self.answers.append(answer)
        self.openings.append(opening)

    def extend(self, other: Facts, lines_before: int = 0) -> None:
        """Take in the rows of a later part of the file, which begins after ``lines_before``."""
        import numpy as np

        self.lines.frombytes((other.columns()[0] + np.uint64(lines_before)).tobytes())
        self.prompts.extend(other.prompts)
        self.answers.extend(other.answers)
        self.openings.extend(other.openings)

    def columns(self) -> tuple[Any, Any, Any, Any]:
        """Return lines, prompts, answers, openings as numpy arrays of unsigned 64 bits (views)."""
        import numpy as np

        def view(column: array[int]) -> Any:
            return np.frombuffer(column, dtype=np.uint64) if column else np.empty(0, np.uint64)

        return view(self.lines), view(self.prompts), view(self.answers), view(self.openings)


def hashes(example: Example) -> tuple[int, int, int]:
    """Return the hashes of a row's prompt, of its answer and of how the answer begins."""
    if example.kind == "text":
        return NOTHING, digest((example.text or "").encode("utf-8", "surrogatepass")), NOTHING
    if example.kind == "tokens":
        return NOTHING, digest(_encoded(example.tokens)), NOTHING
    if example.kind == "preference":
        both = _encoded([example.chosen, example.rejected])
        return *_pair(_prompt(example.messages, example), example.messages, both), NOTHING
    if not example.messages:
        return NOTHING, NOTHING, NOTHING
    if example.kind == "prompt":
        # What the grader reads stands for the answer.
        wanted = digest(_encoded(example.extra)) if example.extra else NOTHING
        return _prompt(example.messages, example), wanted, NOTHING
    *before, last = example.messages
    answer = _answer(last, example.label)
    opening = answer[:OPENING_BYTES] if last.get("role") == "assistant" else b""
    return (
        *_pair(_prompt(before, example, last), before, answer),
        digest(opening) if opening else NOTHING,
    )


def digest(data: bytes | memoryview, seed: int = 0) -> int:
    """Return the hash of bytes, never ``NOTHING``."""
    return xxhash.xxh3_64_intdigest(data, seed) or 1


def seed_of(roles: Sequence[Any]) -> int:
    """Return what keeps equal texts under other roles apart."""
    return xxhash.xxh3_64_intdigest(repr(tuple(roles)).encode("utf-8", "backslashreplace"))


def _prompt(before: list[Message], example: Example, last: Message | None = None) -> int:
    roles = [message.get("role") for message in before]
    if last is not None:
        roles.append(last.get("role"))
    seed = seed_of(roles)
    if example.tools is None and all(map(_is_plain, before)):
        texts = [message["content"].encode("utf-8", "surrogatepass") for message in before]
        return digest(SEPARATOR.join(texts), seed)
    return digest(_encoded([example.tools, before]), seed)


def _pair(prompt: int, before: list[Message], answer: bytes) -> tuple[int, int]:
    """Return the hashes of prompt and answer; where nothing stands before an answer there is no
    prompt to have another one, and what else tells such rows apart belongs to the answer."""
    return (prompt, digest(answer)) if before else (NOTHING, digest(answer, prompt))


def _answer(message: Message, label: bool | None) -> bytes:
    if label is None and _is_plain(message):
        return str(message["content"]).encode("utf-8", "surrogatepass")
    return _encoded([label, message])


def _is_plain(message: Message) -> bool:
    return message.keys() == _PLAIN and isinstance(message["content"], str)


def _encoded(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value, order="deterministic")
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError):
        return repr(value).encode("utf-8", "backslashreplace")


def groups(keys: Any, at_least: int = 2) -> Iterator[Any]:
    """Yield for each value of ``keys`` that stands ``at_least`` so often its indices, in order.

    ``keys`` is a numpy array of shape (rows,), or of shape (rows, columns) for combined keys.
    """
    import numpy as np

    if keys.ndim == 1:
        keys = keys[:, None]
    known = np.arange(len(keys))
    for column in keys.T:  # few values stand twice: what is left to be ordered is little
        known = known[_is_repeated(column[known])]
    if not len(known):
        return
    keys = keys[known]
    order = np.lexsort(keys.T[::-1])
    ranked = keys[order]
    starts = np.flatnonzero(np.r_[True, (ranked[1:] != ranked[:-1]).any(axis=1)])
    ends = np.r_[starts[1:], len(order)]
    many = ends - starts >= at_least
    for start, end in zip(starts[many], ends[many], strict=True):
        yield known[np.sort(order[start:end])]


def distinct(column: Any) -> int:
    """Return how many different values a numpy array of shape (rows,) has."""
    import numpy as np

    ordered = np.sort(column)  # numpy's own unique takes four times as long
    return int(np.count_nonzero(ordered[1:] != ordered[:-1])) + bool(len(ordered))


def _is_repeated(column: Any) -> Any:
    """Tell of each value whether it stands more than once: a numpy array of bool (rows,)."""
    import numpy as np

    ordered = np.sort(column)
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(repeated):
        return np.zeros(len(column), bool)
    nearest = np.searchsorted(repeated, column).clip(max=len(repeated) - 1)
    return repeated[nearest] == column
