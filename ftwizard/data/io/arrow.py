"""Rows of Parquet and Arrow files, read in batches."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from ftwizard.data.example import RowProblem
from ftwizard.data.io.source import DataSource, FileProblem
from ftwizard.data.privacy.quote import quote
from ftwizard.errors import USAGE, FtwizardError

_Converter = Callable[[Any], Any]
Row = tuple[int, bytes | RowProblem]
"""The 1-based number of a record, and its JSON."""
BATCH_ROWS = 500
_Part = tuple[int | None, Callable[[], Iterable[Any]]]
"""A row group or record batch, readable even if another one is damaged: the number of its records
if known without reading them, and a function that reads its batches."""


class NotJsonValue(FtwizardError):
    """A value that JSON cannot represent; ``detail`` describes it without its row number."""

    def __init__(self, location: str, detail: str, hint: str, cause: Exception) -> None:
        super().__init__(f"{location}{detail}.", hint)
        self.detail = detail
        self.code = "encoding" if isinstance(cause, UnicodeError) else "invalid_json"


def find_media_columns(features: Any) -> list[str]:
    """Return the columns with images, audio or other media, judged by ``datasets`` features."""
    return [str(name) for name, feature in (features or {}).items() if _is_media(feature)]


def _is_media(feature: Any) -> bool:
    if isinstance(feature, dict):
        return any(map(_is_media, feature.values()))
    if isinstance(feature, list | tuple):
        return any(map(_is_media, feature))
    if inner := getattr(feature, "feature", None):  # of a list
        return _is_media(inner)
    # Features that need decoding are media, except for JSON, which is text.
    return hasattr(feature, "decode_example") and type(feature).__name__ != "Json"


def to_json_lines(tables: Iterable[Any]) -> Iterator[tuple[int, bytes]]:
    """Yield the row count of each table and its rows as JSON Lines.

    Dates and times become ISO 8601 text, binary values Base64, decimals text, NaN null. Null fields
    within a column are dropped: Arrow gives every object all fields of the column, and a model would
    learn to write them. Raises NotJsonValue, naming the column, for a value that JSON cannot represent.
    """
    encoder = msgspec.json.Encoder(enc_hook=_substitute, decimal_format="string")
    done = 0
    for table in tables:
        converters = {field.name: _find_converter(field.type) for field in table.schema}
        needed = {name: change for name, change in converters.items() if change}
        try:
            rows = table.to_pylist()
            for row in rows:
                for name, change in needed.items():
                    row[name] = change(row[name])
            text = encoder.encode_lines(rows)
        except (ValueError, TypeError, OverflowError, ArithmeticError, RecursionError) as error:
            raise _find_bad_value(table, needed, encoder, done, error) from error
        done += len(rows)
        yield len(rows), text


def _find_bad_value(
    table: Any, needed: dict[str, _Converter], encoder: Any, before: int, error: Exception
) -> NotJsonValue:
    """Find the value that JSON cannot represent."""
    for index, name in enumerate(table.column_names):
        for row in range(table.num_rows):
            try:
                value = table.column(index)[row].as_py()
                encoder.encode(needed[name](value) if name in needed else value)
            except Exception as cause:  # noqa: BLE001 (any error identifies the value)
                return NotJsonValue(
                    f"Row {before + row + 1}, ",
                    f"column {quote(name, 60)}: its value cannot be written as JSON "
                    f"({quote(str(cause), 200)})",
                    "Save the data set without that column as JSON Lines and name that file.",
                    cause,
                )
    detail = f"The rows cannot be written as JSON: {quote(str(error), 200)}"
    return NotJsonValue("", detail, "", error)


def _find_converter(kind: Any) -> _Converter | None:
    """Return a conversion of an Arrow type for JSON, or None if none is needed."""
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        is_json = kind.extension_name == "arrow.json"
        return _parse_json if is_json else _find_converter(kind.storage_type)
    if pa.types.is_struct(kind):
        fields = {field.name: _find_converter(field.type) or _identity for field in kind}
        return lambda value: (
            value and {key: fields[key](item) for key, item in value.items() if item is not None}
        )
    if pa.types.is_map(kind):
        inner = _find_converter(kind.item_type) or _identity
        return lambda value: value and {str(key): inner(item) for key, item in value}
    if pa.types.is_dictionary(kind):
        return _find_converter(kind.value_type)
    if pa.types.is_nested(kind) and hasattr(kind, "value_type") and (
        each := _find_converter(kind.value_type)
    ):  # fmt: skip
        return lambda value: value and [each(item) for item in value]
    return None


def _identity(value: Any) -> Any:
    return value


def _parse_json(value: Any) -> Any:
    """Parse JSON text; return invalid JSON unchanged."""
    try:
        return msgspec.json.decode(value) if isinstance(value, str | bytes) else value
    except (msgspec.DecodeError, RecursionError):
        return value


def _substitute(value: Any) -> Any:
    """Return a substitute for a value without a JSON representation."""
    if hasattr(value, "isoformat"):  # pandas timestamps with nanoseconds
        return value.isoformat()
    return value.item() if hasattr(value, "item") else str(value)


def read_rows(source: DataSource, kind: str) -> Iterator[Row]:
    """Yield the records of a ``parquet`` or ``arrow`` file.

    A value that JSON cannot represent drops its record; damage drops the rest of its row group.
    Raises FileProblem if pyarrow is missing or cannot read the file.
    """
    name = "a Parquet" if kind == "parquet" else "an Arrow"
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError:
        message = f"{source.display_name} is {name} file, but pyarrow is not installed."
        hint = "Install it with: pip install 'ftwizard[local]'"
        raise FileProblem("unreadable", message, hint, USAGE) from None
    # Arrow raises errors of several families, MemoryError among them.
    errors = (pa.ArrowException, OSError, ValueError, MemoryError)
    with open(source.fileno(), "rb", buffering=0, closefd=False) as file:
        try:
            parts = _split_parquet(file) if kind == "parquet" else _split_arrow(file, source)
        except errors as error:
            problem = (
                f"{source.display_name} is a truncated or damaged {kind.capitalize()} file: "
                f"{quote(str(error), 200)}."
            )
            raise FileProblem("binary", problem, "Download it again.") from None
        yield from _read_parts(parts, errors)


def _read_parts(parts: list[_Part], errors: tuple[type[Exception], ...]) -> Iterator[Row]:
    import pyarrow as pa

    done = 0
    for row_count, read_batches in parts:
        before = done
        try:
            for batch in read_batches():
                for start in range(0, batch.num_rows, BATCH_ROWS):
                    table = pa.Table.from_batches([batch.slice(start, BATCH_ROWS)])
                    yield from _read_table(table, done)
                    done += table.num_rows
        except errors as error:
            end = before + row_count if row_count is not None else None
            lost = f"records {done + 1:,} to {end:,}" if end else f"records from {done + 1:,} on"
            message = f"{lost} are damaged: {quote(str(error), 200)}"
            yield done + 1, RowProblem("binary", message, "download the file again")
        if row_count is not None:
            done = before + row_count


def _read_table(table: Any, done: int) -> Iterator[Row]:
    with contextlib.suppress(NotJsonValue):
        ((_, text),) = to_json_lines([table])
        yield from enumerate(text.split(b"\n")[:-1], done + 1)
        return
    for index in range(table.num_rows):
        number = done + index + 1
        try:
            ((_, text),) = to_json_lines([table.slice(index, 1)])
            yield number, text[:-1]
        except NotJsonValue as problem:
            yield (
                number,
                RowProblem(problem.code, problem.detail, "write it as text, or leave it out"),
            )


def _split_parquet(file: Any) -> list[_Part]:
    import pyarrow.parquet as pq

    opened = pq.ParquetFile(file, buffer_size=1 << 20)
    return [
        (
            opened.metadata.row_group(group).num_rows,
            functools.partial(opened.iter_batches, BATCH_ROWS, [group]),
        )
        for group in range(opened.num_row_groups)
    ]


def _split_arrow(file: Any, source: DataSource) -> list[_Part]:
    import pyarrow as pa

    if not is_arrow_file(source.read(0, 8)):
        stream = pa.ipc.open_stream(file)
        return [(None, lambda: stream)]
    opened = pa.ipc.open_file(file)
    return [
        (None, functools.partial(lambda index: [opened.get_batch(index)], index))
        for index in range(opened.num_record_batches)
    ]


def is_arrow_file(head: bytes) -> bool:
    """Return whether ``head`` begins a file in the Arrow IPC file format."""
    return head.startswith(b"ARROW1\x00\x00")


def is_arrow_stream(head: bytes) -> bool:
    """Return whether ``head`` begins an Arrow IPC stream, the format that ``datasets`` saves."""
    size = int.from_bytes(head[4:8], "little")
    return head.startswith(b"\xff\xff\xff\xff") and 0 < size < 1 << 26 and size % 8 == 0
