"""Near copies in a file, and of training rows among those for validation.

What is equal to the word is left to ``repeats``. Of larger files a part is looked through, drawn by
the prompts, and that is said.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import msgspec

from ftwizard.data import facts, formats, records, said
from ftwizard.data.checks.found import SHOWN_LINES, FileFound, Found
from ftwizard.data.container import Container
from ftwizard.data.conversation import RowProblem
from ftwizard.data.duplicates import NearIndex, near_leakage
from ftwizard.data.example import Example
from ftwizard.data.format_names import Format

MOST_ROWS = 100_000
"""Rows that are looked through: 6 s and 130 MB."""


class Source(msgspec.Struct, frozen=True):
    """A file and how its rows are read."""

    path: Path
    container: Container
    format: Format
    rows: int
    """That it has."""

    @property
    def share(self) -> int:
        """Return of how many prompts one is looked at."""
        return -(-self.rows // MOST_ROWS)

    def examples(self, share: int) -> Iterator[tuple[int, Example]]:
        """Yield line and meaning of the first of rows that are equal, of every ``share``-th
        prompt."""
        seen: set[tuple[int, int]] = set()
        for record in records.records(self.path, self.container):
            try:
                example = formats.example(records.decoded(record), self.format)
            except RowProblem:
                continue
            prompt, answer, _ = facts.hashes(example)
            if (prompt or answer) % share or (prompt, answer) in seen:
                continue
            seen.add((prompt, answer))
            yield record.line, example


class _Texts:
    """Texts by line, in a file without a name: they are needed again and fill the memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._places: dict[int, tuple[int, int]] = {}
        self._end = 0

    def add(self, line: int, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        self._file.seek(self._end)
        self._file.write(data)
        self._places[line] = (self._end, len(data))
        self._end += len(data)

    def of(self, line: int) -> str:
        start, length = self._places[line]
        self._file.seek(start)
        return self._file.read(length).decode("utf-8", "surrogatepass")


def find(train: Source, validation: Source | None) -> tuple[list[FileFound], list[FileFound]]:
    """Return what is found in the file, and between it and that for validation.

    Raises FileProblem.
    """
    share = max(train.share, validation.share if validation else 1)
    with ExitStack() as stack:
        texts = _Texts(stack.enter_context(tempfile.TemporaryFile(prefix="ftwizard-")))
        index = NearIndex(texts.of)
        for line, example in train.examples(share):
            text = said.row(example)
            texts.add(line, text)
            index.add(line, text)
        within = list(_within(index))
        between = list(_between(index, train, validation, share)) if validation else []
    return within, between


def sampled(train: Source) -> Found | None:
    """Return that only a part is looked through, where it is so."""
    if train.share <= 1:  # 0: there is no row
        return None
    return Found(
        "sampled",
        f"near copies were looked for among the rows of one prompt in {train.share}: the file has "
        f"more than {MOST_ROWS:,} rows",
        "where they matter, look through parts of the file",
    )


def _within(index: NearIndex) -> Iterator[FileFound]:
    groups = index.groups()
    later = sorted(line for group in groups for line in group[1:])
    if not later:
        return
    first = min(groups, key=lambda group: group[1])
    yield FileFound(
        code="near_duplicate",
        message=f"nearly the same as an earlier row: line {first[1]:,} as line {first[0]:,}, for one",
        fix="keep the better of each, or make them differ: near copies are learnt by heart too",
        count=len(later),
        lines=later[:SHOWN_LINES],
    )


def _between(
    index: NearIndex, train: Source, validation: Source, share: int
) -> Iterator[FileFound]:
    known = {facts.hashes(example)[:2] for _, example in train.examples(share)}
    rows = (
        (line, said.row(example))
        for line, example in validation.examples(share)
        if facts.hashes(example)[:2] not in known
    )
    pairs = near_leakage(index, rows)
    if pairs:
        line, other = pairs[0]
        yield FileFound(
            code="near_leakage",
            message=f"nearly the same as a row that is trained on: line {line:,} as line {other:,} "
            "there, for one",
            fix="take them out of one of the two: ftwizard split makes parts without this",
            count=len(pairs),
            lines=[line for line, _ in pairs[:SHOWN_LINES]],
        )
