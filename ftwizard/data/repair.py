"""A new file with what can be mended honestly, and an account of every change.

Rows that are right pass as they are, byte for byte. What would have to be guessed is left out and
said: an empty answer, JSON that breaks off, a role that nobody knows.
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

from ftwizard.data import checks, facts, meanings, records
from ftwizard.data.checks.found import FileFound, Found
from ftwizard.data.conversation import RowProblem
from ftwizard.data.findings import Findings
from ftwizard.data.format_names import FormatChoice
from ftwizard.data.meanings import Reading
from ftwizard.data.mends import fields, json_text, redaction, texts, whole
from ftwizard.data.mends.change import Change
from ftwizard.data.mends.json_text import Mended
from ftwizard.data.mends.whole import FileChange
from ftwizard.data.new_file import new_file, require_free
from ftwizard.data.records import Record
from ftwizard.data.targets import Target, usual
from ftwizard.errors import FtwizardError
from ftwizard.text import plural, visible

_WORDS = {
    "bom": "the byte-order mark was taken off",
    "bom_missing": "a byte-order mark was put before the first row",
    "encoding": "the file was written anew in UTF-8",
    "compressed": "the file was unpacked",
    "needs_conversion": "the file was written anew as JSON Lines",
    "line_end": "lines end with a line feed alone",
    "blank_line": "lines without a row were taken out",
    "duplicate": "rows that stood there already were taken out",
    "duplicate_key": "keys that stood twice with one value stand once",
    "invalid_json": "what was JSON but for its notation is JSON",
    "extra_data": "objects that shared a line have a line each",
    "control_char": "control characters were taken out",
    "mojibake": "text that was decoded wrongly was restored",
    "bidi": "characters that turn the reading direction were taken out",
    "hidden_text": "characters that nobody sees were taken out",
    "unknown_role": "roles are written as they are known",
    "weight": "weights are numbers",
    "tool_arguments_form": "arguments of tool calls have the form that the target reads",
    "deprecated": "function calls are tool calls",
}


class Repairs(msgspec.Struct, frozen=True, kw_only=True):
    """What was repaired; ``repairs`` in what ``ftwizard check --fix --json`` prints."""

    out: str
    changes: str
    """The file with every change, one JSON object a line."""
    rows_in: int
    rows_out: int
    changed: list[FileFound]
    """By what was mended; a row may count several times."""
    left_out: list[FileFound]
    """By what kept rows from being written; a row counts once."""
    sha256: str
    """Of the new file."""


def changes_path(out: Path) -> Path:
    """Return where the account of a repair to ``out`` is written."""
    return out.with_name(f"{out.name}.changes.jsonl")


def repair(
    path: Path,
    out: Path,
    target: Target | None = None,
    *,
    format: FormatChoice = "auto",
    redact: bool = False,
    say: Callable[..., None] | None = None,
) -> Repairs:
    """Write the rows of ``path`` mended for ``target`` to the new file ``out``.

    Default: what the file looks made for. Every change stands in ``changes_path(out)``. With ``redact``, secrets are replaced by words that
    say what stood there. A row in which the target would find an error all the same is left out.
    Raises FtwizardError where ``path`` cannot be read, where a file is there already, where the
    disk is full, or where no row is left.
    """
    account = changes_path(out)
    require_free(out, not_over=[path])
    require_free(account, not_over=[path])
    reading = meanings.reading(path, format, _values)
    target = target or usual(reading.format)
    mending = _Mending(reading, target, redact)
    sha = hashlib.sha256()
    with contextlib.ExitStack() as undo:
        with new_file(out, not_over=[path]) as file:
            with new_file(account) as changes:
                for change in whole.changes(path, reading.container, target):
                    mending.note(change, changes)
                for line in mending.lines(changes, say):
                    sha.update(line)
                    file.write(line)
                found = mending.repairs(out, sha.hexdigest())
                if not found.rows_out:
                    raise _nothing(found, path)
            undo.callback(account.unlink, missing_ok=True)
        undo.pop_all()
    return found


def _values(record: Record) -> list[Any]:
    if isinstance(record.value, bytes):
        return json_text.read(record.value).values
    return [records.decoded(record)]


class _Mending:
    """One file on its way."""

    def __init__(self, reading: Reading, target: Target, redact: bool) -> None:
        self._reading, self._target, self._redact = reading, target, redact
        self._rows_in = self._rows_out = 0
        self._changed, self._left_out = Findings(), Findings()
        self._of_file: list[FileChange] = []
        self._seen: dict[tuple[int, ...], int] = {}

    def lines(self, changes: BinaryIO, say: Callable[..., None] | None) -> Iterator[bytes]:
        """Yield the bytes of each line that is written; each change goes to ``changes``."""
        for number, data in records.records(self._reading.path, self._reading.container):
            self._rows_in += 1
            if say is not None and self._rows_in % 1000 == 0:
                say("repairing", done=self._rows_in, unit="rows")
            try:
                found = self._rows(number, data, changes)
            except RowProblem as problem:
                self._leave_out(number, problem, changes)
                continue
            for line in found:
                marked = not self._rows_out and self._target.bom == "needed"
                self._rows_out += 1
                yield (codecs.BOM_UTF8 if marked else b"") + line + b"\n"

    def note(self, change: FileChange, changes: BinaryIO) -> None:
        """Take a change of the file as a whole to the account."""
        self._of_file.append(change)
        _write(changes, msgspec.structs.asdict(change))

    def repairs(self, out: Path, sha256: str) -> Repairs:
        """Return what was done."""
        whole = [
            FileFound(
                code=change.code,
                message=_words(change.code),
                fix="",
                count=change.count,
                lines=list(change.lines),
            )
            for change in self._of_file
        ]
        return Repairs(
            out=str(out),
            changes=str(changes_path(out)),
            rows_in=self._rows_in,
            rows_out=self._rows_out,
            changed=[*whole, *self._changed.grouped()],
            left_out=self._left_out.grouped(),
            sha256=sha256,
        )

    def _rows(self, number: int, data: Any, changes: BinaryIO) -> list[bytes]:
        """Return the lines that one becomes; raise RowProblem where it is to be left out."""
        if isinstance(data, RowProblem):
            raise data
        mended = json_text.read(data) if isinstance(data, bytes) else Mended([data], [])
        found: list[bytes] = []
        made: list[Change] = []
        for value in mended.values:
            own = self._mend(value, data)
            try:
                key = self._checked(value)
                line = _line(value, data, changed=bool(own or mended.changes))
            except RowProblem as problem:
                if len(mended.values) == 1:
                    raise
                self._leave_out(number, problem, changes)
                continue
            if first := self._seen.get(key):
                made.append(Change("duplicate", "", f"the same as line {first:,}", ""))
                continue
            if any(key):
                self._seen[key] = number
            made += own
            found.append(line)
        if found:
            made += mended.changes
        self._account(number, made, changes)
        return found

    def _mend(self, value: Any, data: Any) -> list[Change]:
        made: list[Change] = []
        if not isinstance(value, dict | list):
            return made
        if not isinstance(data, bytes) or texts.may_need_mending(data):
            made += texts.mend(value)
        made += fields.mend(value, self._target)
        if self._redact:
            made += redaction.mend(value)
        return made

    def _checked(self, value: Any) -> tuple[int, ...]:
        """Return what is the same for rows that are copies; raise RowProblem for an error."""
        example = self._reading.example(value)
        error = checks.error_of_row(example, self._target)
        if error is not None:
            raise RowProblem(*error)
        prompt, answer, _ = facts.hashes(example)
        # What a grader reads tells prompts apart, and nothing but its text tells a text apart.
        extra = facts.digest(_encoded(example.extra)) if example.kind == "prompt" else 0
        return prompt, answer, extra

    def _account(self, number: int, made: list[Change], changes: BinaryIO) -> None:
        for change in made:
            _write(changes, {"line": number, **change._asdict()})
        for code in dict.fromkeys(change.code for change in made):
            self._changed.add(number, Found(code, _words(code), ""))

    def _leave_out(self, number: int, problem: RowProblem, changes: BinaryIO) -> None:
        self._left_out.add(number, Found(problem.code, problem.message, problem.fix))
        _write(
            changes,
            {"line": number, "code": problem.code, "where": "", "was": "the row", "now": None}
            | {"why": problem.message, "fix": problem.fix},
        )


def _line(value: Any, data: Any, *, changed: bool) -> bytes:
    """Return a row on one line: as it stands in the file unless something in it was changed."""
    if isinstance(data, bytes) and not changed:
        # Within a text a line end is escaped; between its parts it means nothing.
        return data if b"\n" not in data and b"\r" not in data else _joined(data)
    is_ascii = isinstance(data, bytes) and data.isascii()
    try:
        return json_text.written(value, ascii=is_ascii).encode()
    except (ValueError, TypeError, RecursionError):
        raise RowProblem(
            "invalid_json", "a value of it cannot be written as JSON", "correct it"
        ) from None


def _joined(data: bytes) -> bytes:
    return msgspec.json.format(data, indent=0)


def _encoded(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _words(code: str) -> str:
    return _WORDS.get(code, "secrets were replaced by what they are")


def _write(changes: BinaryIO, record: dict[str, Any]) -> None:
    changes.write(msgspec.json.encode(record) + b"\n")


def _nothing(found: Repairs, source: Path) -> FtwizardError:
    first = found.left_out[0] if found.left_out else None
    why = f": {first.message} ({plural(first.count, 'row')})" if first else ": it holds none"
    error = FtwizardError(
        f"No row of {visible(str(source))} can be kept{why}.",
        f"{first.fix[:1].upper()}{first.fix[1:]}." if first else "",
    )
    error.document = {"repairs": msgspec.to_builtins(found)}
    return error
