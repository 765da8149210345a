"""A file in a target's own format: every row as it is wanted there, or said why not."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from ftwizard.data import checks, formats, meanings
from ftwizard.data.checks.found import FileFound, Found
from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example
from ftwizard.data.findings import Findings
from ftwizard.data.format_names import Format, FormatChoice
from ftwizard.data.meanings import Reading
from ftwizard.data.new_file import new_file, require_free
from ftwizard.data.targets import Target
from ftwizard.data.writers import write, written_as
from ftwizard.errors import FtwizardError
from ftwizard.text import plural, visible


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
    """What ``ftwizard convert --json`` prints."""

    target: str
    out: str
    rows_in: int
    rows_out: int
    left_out: list[FileFound]
    """By what kept rows from being written; a row counts once."""
    changed: list[FileFound]
    """By what written rows have lost, or what was made of it; a row may count several times."""
    sha256: str | None
    """Of the new file; None where none was written."""


def convert(
    path: Path,
    out: Path,
    target: Target,
    *,
    format: FormatChoice = "auto",
    written_as: Format | None = None,
    say: Callable[..., None] | None = None,
) -> Conversion:
    """Write the rows of ``path`` to the new file ``out`` as ``target`` wants them.

    JSON Lines in UTF-8, with a byte-order mark where the target needs one. A row that the target
    cannot carry, or finds an error as it would be written, is left out and said. ``written_as`` is
    one of ``writers.choices(target)``. Raises FtwizardError where ``path`` cannot be read, ``out``
    is there already, the disk is full, and where no row can be written (its ``document`` is then
    the conversion).
    """
    require_free(out, not_over=[path])
    writing = _Writing(meanings.reading(path, format), target, written_as)
    sha = hashlib.sha256()
    with new_file(out, not_over=[path]) as file:
        for line in writing.lines(say):
            sha.update(line)
            file.write(line)
        found = writing.conversion(out, sha.hexdigest())
        if not found.rows_out:
            raise _nothing(found, path)
    return found


class _Writing:
    """One file on its way."""

    def __init__(self, reading: Reading, target: Target, format: Format | None) -> None:
        self._reading, self._target, self._format = reading, target, format
        self._rows_in = self._rows_out = 0
        self._left_out, self._changed = Findings(), Findings()

    def lines(self, say: Callable[..., None] | None) -> Iterator[bytes]:
        """Yield the bytes of each line that is written."""
        for number, row in self._reading.examples():
            self._rows_in += 1
            if say is not None and self._rows_in % 1000 == 0:
                say("converting", done=self._rows_in, unit="rows")
            try:
                line, losses = self._line(row)
            except RowProblem as problem:
                self._left_out.add(number, Found(problem.code, problem.message, problem.fix))
                continue
            for loss in losses:
                self._changed.add(number, loss)
            is_first = not self._rows_out
            self._rows_out += 1
            marked = is_first and self._target.bom == "needed"
            yield (codecs.BOM_UTF8 if marked else b"") + line + b"\n"

    def _line(self, row: Example | RowProblem) -> tuple[bytes, list[Found]]:
        if isinstance(row, RowProblem):
            raise row
        format = written_as(row, self._target, self._format)
        made, losses = write(row, self._target, self._format)
        error = checks.error_of_row(formats.example(made, format), self._target)
        if error is not None:
            raise RowProblem(*error)
        try:
            return msgspec.json.encode(made), losses
        except (TypeError, ValueError, OverflowError, RecursionError):
            raise RowProblem(
                "invalid_json", "a value of it cannot be written as JSON", "write it as text"
            ) from None

    def conversion(self, out: Path, sha256: str) -> Conversion:
        """Return what was done."""
        return Conversion(
            target=self._target.name,
            out=str(out),
            rows_in=self._rows_in,
            rows_out=self._rows_out,
            left_out=self._left_out.grouped(),
            changed=self._changed.grouped(),
            sha256=sha256 if self._rows_out else None,
        )


def _nothing(found: Conversion, source: Path) -> FtwizardError:
    first = found.left_out[0] if found.left_out else None
    why = f": {first.message} ({plural(first.count, 'row')})" if first else ": it holds none"
    error = FtwizardError(
        f"No row of {visible(str(source))} can be written for {found.target}{why}.",
        f"{first.fix[:1].upper()}{first.fix[1:]}." if first else "",
    )
    error.document = msgspec.to_builtins(found)
    return error
