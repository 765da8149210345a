"""Conversion of data files to a target's own format."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from ftwizard.data import formats, reader
from ftwizard.data.checks import row_checker
from ftwizard.data.documents import Conversion
from ftwizard.data.example import Example, RowProblem
from ftwizard.data.export import choose_format, write
from ftwizard.data.findings import Findings, RowFinding, describe_left_out
from ftwizard.data.format_names import Format, FormatChoice
from ftwizard.data.new_file import new_file, require_free
from ftwizard.data.platforms import Target
from ftwizard.data.reader import RowReader
from ftwizard.errors import FtwizardError
from ftwizard.text import make_visible


def convert_file(
    path: Path,
    out: Path,
    target: Target,
    *,
    format: FormatChoice = "auto",
    written_as: Format | None = None,
    say: Callable[..., None] | None = None,
) -> Conversion:
    """Write the rows of ``path`` to the new file ``out`` in the format of ``target``.

    The output is JSON Lines in UTF-8, with a byte-order mark if the target needs one. Rows that the
    target cannot represent, or that have an error for it, are left out and reported. ``written_as``
    is one of ``export.list_formats(target)``. Raises FtwizardError if ``path`` cannot be read, ``out``
    exists, the disk is full, or no row can be written. In the last case, its ``document`` is the
    conversion.
    """
    require_free(out, not_over=[path])
    converter = _Converter(reader.open_reader(path, format), target, written_as)
    sha = hashlib.sha256()
    with new_file(out, not_over=[path]) as file:
        for line in converter.lines(say):
            sha.update(line)
            file.write(line)
        report = converter.conversion(out, sha.hexdigest())
        if not report.rows_out:
            raise _nothing_written(report, path)
    return report


class _Converter:
    """State of the conversion of one file."""

    def __init__(self, reading: RowReader, target: Target, format: Format | None) -> None:
        self._reading, self._target, self._format = reading, target, format
        self._rows_in = self._rows_out = 0
        self._left_out, self._changed = Findings(), Findings()

    def lines(self, say: Callable[..., None] | None) -> Iterator[bytes]:
        """Yield the bytes of each output line."""
        for number, row in self._reading.examples():
            self._rows_in += 1
            if say is not None and self._rows_in % 1000 == 0:
                say("converting", done=self._rows_in, unit="rows")
            try:
                line, notes = self._write_row(row)
            except RowProblem as problem:
                self._left_out.add(number, RowFinding.from_problem(problem))
                continue
            for note in notes:
                self._changed.add(number, note)
            is_first = not self._rows_out
            self._rows_out += 1
            with_bom = is_first and self._target.bom == "needed"
            yield (codecs.BOM_UTF8 if with_bom else b"") + line + b"\n"

    def _write_row(self, row: Example | RowProblem) -> tuple[bytes, list[RowFinding]]:
        if isinstance(row, RowProblem):
            raise row
        format = choose_format(row, self._target, self._format)
        output, notes = write(row, self._target, self._format)
        error = row_checker.find_row_error(formats.to_example(output, format), self._target)
        if error is not None:
            raise RowProblem(*error)
        try:
            return msgspec.json.encode(output), notes
        except (TypeError, ValueError, OverflowError, RecursionError):
            raise RowProblem(
                "invalid_json", "one of its values cannot be written as JSON", "write it as text"
            ) from None

    def conversion(self, out: Path, sha256: str) -> Conversion:
        """Return the report."""
        return Conversion(
            target=self._target.name,
            out=str(out),
            rows_in=self._rows_in,
            rows_out=self._rows_out,
            left_out=self._left_out.all_findings(),
            changed=self._changed.all_findings(),
            sha256=sha256 if self._rows_out else None,
        )


def _nothing_written(report: Conversion, source: Path) -> FtwizardError:
    reason, hint = describe_left_out(report.left_out)
    error = FtwizardError(
        f"No row in {make_visible(str(source))} can be written for {report.target}: {reason}.", hint
    )
    error.document = msgspec.to_builtins(report)
    return error
