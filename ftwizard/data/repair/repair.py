"""Repair of data files: a fixed copy, and a log of every change.

Valid rows are copied byte for byte. Rows that could only be fixed by guessing are left out and
reported: an empty answer, truncated JSON, an unknown role.
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ftwizard.data import reader
from ftwizard.data.checks import row_checker
from ftwizard.data.dedup import row_hashes
from ftwizard.data.documents import Repairs
from ftwizard.data.example import RowProblem
from ftwizard.data.findings import FileFinding, Findings, LineCounter, RowFinding, describe_left_out
from ftwizard.data.format_names import FormatChoice
from ftwizard.data.io import records
from ftwizard.data.io.compression import NAMES
from ftwizard.data.io.inspect import Container, read_text
from ftwizard.data.io.lines import Broken, split_lines
from ftwizard.data.io.read_options import AS_IS, ReadOptions
from ftwizard.data.io.records import Record
from ftwizard.data.io.source import DataSource
from ftwizard.data.new_file import new_file, require_free
from ftwizard.data.platforms import Target, default_target
from ftwizard.data.reader import RowReader
from ftwizard.data.repair import fields, json_repair, texts
from ftwizard.data.repair.change import RowChange
from ftwizard.data.repair.json_repair import RepairedLine
from ftwizard.data.tokens.stats import TokenCounter
from ftwizard.data.tokens.tokenizers import choose_encoding
from ftwizard.errors import FtwizardError
from ftwizard.text import make_visible

_DESCRIPTIONS = {
    "bom": "removed the byte-order mark",
    "bom_missing": "added a byte-order mark",
    "encoding": "converted the file to UTF-8",
    "compressed": "decompressed the file",
    "needs_conversion": "converted the file to JSON Lines",
    "line_end": "changed line endings to line feeds",
    "blank_line": "removed blank lines",
    "duplicate": "removed duplicate rows",
    "duplicate_key": "removed duplicate keys with equal values",
    "invalid_json": "fixed invalid JSON",
    "extra_data": "split several objects on one line",
    "control_char": "removed control characters",
    "mojibake": "restored wrongly decoded text (mojibake)",
    "bidi": "removed bidirectional controls",
    "hidden_text": "removed invisible characters",
    "unknown_role": "normalized roles",
    "tool_call": "decoded tool calls from JSON text",
    "message_name": "replaced blanks and signs in names of speakers",
    "weight": "converted weights to numbers",
    "tool_schema": "wrote tools as functions, with types of JSON Schema",
    "tool_arguments_form": "converted tool-call arguments to the target's form",
    "deprecated": "converted function calls to tool calls",
}


class FileChange(msgspec.Struct, frozen=True):
    """A change to the file as a whole, or the same change to many lines."""

    code: str
    was: str
    now: str
    count: int = 1
    lines: tuple[int, ...] = ()
    """The first ``MAX_SHOWN_LINES`` lines concerned."""


def changes_path(out: Path) -> Path:
    """Return the path of the change log of a repair to ``out``."""
    return out.with_name(f"{out.name}.changes.jsonl")


def repair(
    path: Path,
    out: Path,
    target: Target | None = None,
    *,
    format: FormatChoice = "auto",
    redact: bool = False,
    max_length: int | None = None,
    read: ReadOptions = AS_IS,
    say: Callable[..., None] | None = None,
) -> Repairs:
    """Write the rows of ``path``, fixed for ``target``, to the new file ``out``.

    Rows read through a column mapping are written as mapped.

    The default target is what the file looks made for. Every change is logged to
    ``changes_path(out)``. With ``redact``, secrets are replaced with placeholders. Rows with more
    tokens than ``max_length``, or of a hosted target than its limit, are left out if it is given, and so are
    rows that still have an error for the target. Raises FtwizardError if ``path`` cannot be read, an
    output file exists, the disk is full, or no row is left.
    """
    log = changes_path(out)
    require_free(out, not_over=[path])
    require_free(log, not_over=[path])
    reading = reader.open_reader(path, format, _parse_values, options=read)
    target = target or default_target(reading.format)
    repairer = Repairer(reading, target, redact, max_length)
    sha = hashlib.sha256()
    with contextlib.ExitStack() as undo:
        with new_file(out, not_over=[path]) as file:
            with new_file(log) as changes:
                for change in _find_file_changes(path, reading.container, target):
                    repairer.add_file_change(change, changes)
                for line in repairer.lines(changes, say):
                    sha.update(line)
                    file.write(line)
                report = repairer.report(out, sha.hexdigest())
                if not report.rows_out:
                    raise _nothing_left(report, path)
            undo.callback(log.unlink, missing_ok=True)
        undo.pop_all()
    return report


def _parse_values(record: Record) -> list[Any]:
    if isinstance(record.value, bytes):
        return json_repair.parse(record.value).values
    return [records.decode_value(record.value)]


class Repairer:
    """State of the repair of one file."""

    def __init__(
        self, reading: RowReader, target: Target, redact: bool, max_length: int | None = None
    ) -> None:
        self._reading, self._target, self._redact = reading, target, redact
        self._counter: TokenCounter | None = None
        if max_length is not None:
            limit = None if target.hosted else max_length
            self._counter = TokenCounter(target, choose_encoding(target), limit)
        self._unit = reading.container.unit
        self._rows_in = self._rows_out = 0
        self._changed, self._left_out = Findings(), Findings()
        self._file_changes: list[FileChange] = []
        self._line_of_key: dict[tuple[int, ...], int] = {}

    def lines(self, changes: BinaryIO, say: Callable[..., None] | None) -> Iterator[bytes]:
        """Yield the bytes of each output line; log each change to ``changes``."""
        for number, data in records.read_records(self._reading.path, self._reading.container):
            self._rows_in += 1
            if say is not None and self._rows_in % 1000 == 0:
                say("repairing", done=self._rows_in, unit="rows")
            try:
                lines = self.repair_row(number, data, changes)
            except RowProblem as problem:
                self._leave_out(number, problem, changes)
                continue
            for line in lines:
                marked = not self._rows_out and self._target.bom == "needed"
                self._rows_out += 1
                yield (codecs.BOM_UTF8 if marked else b"") + line + b"\n"

    def add_file_change(self, change: FileChange, changes: BinaryIO) -> None:
        """Record and log a change of the file as a whole."""
        self._file_changes.append(change)
        _log(changes, msgspec.structs.asdict(change))

    def report(self, out: Path, sha256: str) -> Repairs:
        """Return the report."""
        whole = [
            FileFinding(
                code=change.code, message=_describe(change.code), fix="", count=change.count,
                lines=list(change.lines),
            )
            for change in self._file_changes
        ]  # fmt: skip
        return Repairs(
            out=str(out),
            changes=str(changes_path(out)),
            rows_in=self._rows_in,
            rows_out=self._rows_out,
            changed=[*whole, *self._changed.all_findings()],
            left_out=self._left_out.all_findings(),
            sha256=sha256,
            unit=self._unit,
        )

    def repair_row(self, number: int, data: Any, changes: BinaryIO) -> list[bytes]:
        """Return the output lines of a record; raise RowProblem if it must be left out."""
        if isinstance(data, RowProblem):
            raise data
        repaired = json_repair.parse(data) if isinstance(data, bytes) else RepairedLine([data], [])
        lines: list[bytes] = []
        row_changes: list[RowChange] = []
        for value in repaired.values:
            own = self._fix(value, None if repaired.changes else data)  # escapes may differ
            try:
                key = self._check(value, number)
                line = _format_line(value, data, changed=bool(own or repaired.changes))
            except RowProblem as problem:
                if len(repaired.values) == 1:
                    raise
                self._leave_out(number, problem, changes)
                continue
            if first := self._line_of_key.get(key):
                row_changes.append(
                    RowChange("duplicate", "", f"the same as {self._unit} {first:,}", "")
                )
                continue
            if any(key):
                self._line_of_key[key] = number
            row_changes += own
            lines.append(line)
        if lines:
            row_changes += repaired.changes
        self._record(number, row_changes, changes)
        return lines

    def _fix(self, value: Any, data: Any) -> list[RowChange]:
        row_changes: list[RowChange] = []
        if not isinstance(value, dict | list):
            return row_changes
        if not isinstance(data, bytes) or texts.may_need_fixes(data):
            row_changes += texts.fix_texts(value)
        row_changes += fields.fix_fields(value, self._target)
        if self._redact:
            row_changes += texts.redact_row(value)
        return row_changes

    def _check(self, value: Any, number: int) -> tuple[int, ...]:
        """Return a key that is equal for duplicate rows; raise RowProblem for an error."""
        example = self._reading.parse(value)
        error = row_checker.find_row_error(example, self._target)
        if error is not None:
            raise RowProblem(*error)
        if self._counter and (limit := self._counter.limit):
            tokens, _ = self._counter.add(number, example)
            if tokens > limit:
                message = f"it has more than {limit:,} tokens"
                raise RowProblem("too_long", message, "shorten or split it")
        prompt, answer, _ = row_hashes.hash_row(example)
        # Prompts also differ by the fields that a grader reads; plain texts differ by text alone.
        if example.kind != "prompt":
            return prompt, answer, 0
        extra = json.dumps(example.extra, sort_keys=True).encode()
        return prompt, answer, row_hashes.hash_bytes(extra)

    def _record(self, number: int, row_changes: list[RowChange], changes: BinaryIO) -> None:
        for change in row_changes:
            _log(changes, {"line": number, **change._asdict()})
        for code in dict.fromkeys(change.code for change in row_changes):
            self._changed.add(number, RowFinding(code, _describe(code), ""))

    def _leave_out(self, number: int, problem: RowProblem, changes: BinaryIO) -> None:
        self._left_out.add(number, RowFinding.from_problem(problem))
        _log(
            changes,
            {"line": number, "code": problem.code, "where": "", "was": "the row", "now": None}
            | {"why": problem.message, "fix": problem.fix},
        )


def _find_file_changes(path: Path, container: Container, target: Target) -> Iterator[FileChange]:
    """Yield the changes to the file other than those to its rows."""
    if container.compression:
        yield FileChange(
            "compressed", f"compressed with {NAMES[container.compression]}", "unpacked"
        )
    if container.encoding != "utf-8":
        yield FileChange("encoding", container.encoding_name, "UTF-8")
    if container.bom and target.bom == "unwanted" and container.encoding == "utf-8":
        yield FileChange("bom", "a byte-order mark", "")
    if target.bom == "needed" and not (container.bom and container.encoding == "utf-8"):
        yield FileChange("bom_missing", "", "a byte-order mark")
    if container.kind != "jsonl":
        yield FileChange("needs_conversion", container.description, "JSON Lines")
    else:
        yield from _find_line_changes(path, container)


def _find_line_changes(path: Path, container: Container) -> Iterator[FileChange]:
    returns, blanks = LineCounter(), LineCounter()
    newline = container.layout.newline
    with DataSource(path, container.identity) as source:
        try:
            for line in split_lines(read_text(source, container), newline):
                if not line.data or line.data.isspace():
                    blanks.add(line.number)
                elif newline == b"\r" or line.data.endswith(b"\r"):
                    returns.add(line.number)
        except Broken:  # the rest is unreadable and reported elsewhere
            pass
    if returns.count:
        was = "\\r" if newline == b"\r" else "\\r\\n"
        yield FileChange("line_end", was, "\\n", returns.count, tuple(returns.first))
    if blanks.count:
        yield FileChange("blank_line", "no row", "", blanks.count, tuple(blanks.first))


def _format_line(value: Any, data: Any, *, changed: bool) -> bytes:
    """Return a row on one line, byte for byte as in the file unless it was changed."""
    if isinstance(data, bytes) and not changed:
        # Raw line ends can only be insignificant white space: within strings they are escaped.
        is_one_line = b"\n" not in data and b"\r" not in data
        return data if is_one_line else msgspec.json.format(data, indent=0)
    is_ascii = isinstance(data, bytes) and data.isascii()
    try:
        return json_repair.encode(value, ascii=is_ascii).encode()
    except (ValueError, TypeError, RecursionError):
        message = "one of its values cannot be written as JSON"
        raise RowProblem("invalid_json", message, "fix the value") from None


def _describe(code: str) -> str:
    return _DESCRIPTIONS.get(code, "redacted secrets")


def _log(changes: BinaryIO, record: dict[str, Any]) -> None:
    changes.write(msgspec.json.encode(record) + b"\n")


def _nothing_left(report: Repairs, source: Path) -> FtwizardError:
    reason, hint = describe_left_out(report.left_out)
    error = FtwizardError(f"No row in {make_visible(str(source))} can be kept: {reason}.", hint)
    error.document = {"repairs": msgspec.to_builtins(report)}
    return error
