"""Rows of a file as examples, after detecting the file's format from all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.data import formats, records
from ftwizard.data.container import Container, inspect
from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example
from ftwizard.data.format_names import Format, FormatChoice
from ftwizard.data.records import Record

Decode = Callable[[Record], Iterable[Any]]
"""Returns the values of a record; raises RowProblem."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """How a file's rows are read."""

    path: Path
    container: Container
    format: Format | None
    """None if no row is an object."""
    is_demanded: bool
    """The format was set explicitly; fields of other formats are then allowed."""

    def example(self, value: Any) -> Example:
        """Return a row as an example; raise RowProblem."""
        if self.format is None:
            raise RowProblem("not_object", "not a JSON object", "write one object per line")
        looks = formats.recognised(value)
        formats.check(looks, self.format, exactly=not self.is_demanded, row=value)
        return formats.example(value, self.format)

    def examples(self) -> Iterator[tuple[int, Example | RowProblem]]:
        """Yield the line of each row with its example or its problem."""
        for record in records.records(self.path, self.container):
            try:
                yield record.line, self.example(records.decoded(record))
            except RowProblem as problem:
                yield record.line, problem


def reading(path: Path, choice: FormatChoice = "auto", decode: Decode | None = None) -> Reading:
    """Inspect a file and detect its format from all rows unless one is set.

    Raises FileProblem if no rows can be read or their format is unclear.
    """
    container = inspect(path)
    if choice != "auto":
        return Reading(path=path, container=container, format=choice, is_demanded=True)
    tally = formats.FormatCounter()
    for record in records.records(path, container):
        try:
            values = decode(record) if decode else [records.decoded(record)]
        except RowProblem:
            continue
        for value in values:
            tally.add(value)
    decision = tally.decide(path)
    return Reading(path=path, container=container, format=decision.format, is_demanded=False)
