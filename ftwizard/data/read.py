"""Reading rows: every problem has its line, and no good row is lost because of a bad one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.data import container, formats, strict_json
from ftwizard.data.container import FileProblem
from ftwizard.data.conversation import Conversation, RowProblem
from ftwizard.data.format_names import Format, FormatChoice
from ftwizard.errors import FtwizardError
from ftwizard.text import plural, visible

SHOWN_PROBLEMS = 3


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One usable row."""

    line: int
    """1-based physical line; in a JSON array the 1-based number of the row."""
    conversation: Conversation


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a row cannot be used."""

    line: int
    code: str
    message: str
    fix: str


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A data file, read whole."""

    path: str
    rows: list[Row]
    problems: list[Problem]
    sha256: str
    """Of the file's bytes."""
    format: Format | None
    """What its rows were read as; None where no row is a JSON object."""

    @property
    def count(self) -> int:
        """Return how many rows the file has, good and bad."""
        return len(self.rows) + len(self.problems)


def read(path: Path, format: FormatChoice = "auto") -> Table:
    """Read JSON Lines or a JSON array of rows, also packed by gzip.

    ``auto``: the format that most rows look like; the others are problems. Raises FtwizardError
    when the file itself cannot be used; bad rows are ``problems``.
    """
    data = container.load(path)
    values = list(_values(path, container.text(path, data)))
    if not values:
        raise FileProblem(
            "file_empty", f"{visible(str(path))} holds no row.", "It needs one JSON object a line."
        )
    found = _format(path, [value for _, value in values]) if format == "auto" else format
    rows: list[Row] = []
    problems: list[Problem] = []
    for line, value in values:
        try:
            rows.append(Row(line=line, conversation=_conversation(value, found, format == "auto")))
        except RowProblem as problem:
            problems.append(
                Problem(line=line, code=problem.code, message=problem.message, fix=problem.fix)
            )
    return Table(
        path=str(path),
        rows=rows,
        problems=problems,
        sha256=hashlib.sha256(data).hexdigest(),
        format=found,
    )


def _conversation(value: Any, format: Format | None, exactly: bool) -> Conversation:
    if isinstance(value, RowProblem):
        raise value
    if format is None or not isinstance(value, dict):
        raise RowProblem("not_object", "not a JSON object", "one object a line")
    formats.check(value, format, exactly=exactly)
    return formats.conversation(value, format)


def _format(path: Path, values: list[Any]) -> Format | None:
    """Return the format that most rows look like; raise FtwizardError if it is none that is read."""
    objects = [value for value in values if isinstance(value, dict)]
    if not objects:
        return None
    looks = formats.of_rows(objects)
    for format in formats.NAMES:
        if looks == format:
            return format
    what = f"look like {looks}, which is not read" if looks else "have no format that is known"
    raise FileProblem(
        "unknown_format",
        f"The rows of {visible(str(path))} {what}; their keys: {formats.keys_seen(objects)}.",
        "Formats that are read: "
        + "; ".join(f"{name} ({words})" for name, words in formats.NAMES.items())
        + ". If the rows are one of these all the same, name it as data.format.",
    )


def usable(table: Table, *, skip_bad: bool) -> list[Row]:
    """Return the good rows; raise FtwizardError for bad ones unless they may be skipped."""
    if table.problems and not (skip_bad and table.rows):
        first = "; ".join(
            f"line {p.line}: {p.message} ({p.fix})" for p in table.problems[:SHOWN_PROBLEMS]
        )
        more = len(table.problems) - SHOWN_PROBLEMS
        rest = f"; and {more:,} more" if more > 0 else ""
        good = plural(len(table.rows), "good row")
        raise FtwizardError(
            f"{len(table.problems):,} of {plural(table.count, 'row')} of "
            f"{visible(table.path)} cannot be used: {first}{rest}.",
            f"Correct them, or train on the {good} with: --insist skip-bad-rows"
            if table.rows
            else "",
        )
    return table.rows


def _values(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    if text.lstrip()[:1] == "[" and _is_array(text):
        yield from _array(path, text)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield number, strict_json.decode(line)
        except RowProblem as problem:
            yield number, problem


def _is_array(text: str) -> bool:
    """Tell a JSON array from JSON Lines whose rows are arrays."""
    first = text.lstrip().split("\n", 1)
    try:
        msgspec.json.decode(first[0])
    except UnicodeEncodeError:  # a byte that is not UTF-8
        return text.rstrip()[-1:] == "]"
    except (msgspec.DecodeError, RecursionError):
        return True
    return len(first) == 1 or not first[1].strip()


def _array(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    try:
        strict_json.refuse_bytes(text)
    except RowProblem as problem:
        line = next(n for n, one in enumerate(text.split("\n"), 1) if not _encodes(one))
        raise FileProblem(
            problem.code, f"{visible(str(path))}, line {line}: {problem.message}.", problem.fix
        ) from None
    try:
        values = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise FileProblem(
            "invalid_json",
            f"{visible(str(path))} begins as a JSON array but is none: {visible(str(error), 200)}.",
            "Look at its end (an interrupted download?), or save it as one object a line.",
        ) from None
    try:
        strict_json.refuse_repeated(text, values)
    except RowProblem:
        yield from enumerate(strict_json.elements(text), 1)
        return
    yield from enumerate(values, 1)


def _encodes(line: str) -> bool:
    try:
        strict_json.refuse_bytes(line)
    except RowProblem:
        return False
    return True
