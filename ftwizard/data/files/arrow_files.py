"""Rows of Parquet and Arrow files, read in batches."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ftwizard.data import arrow_rows
from ftwizard.data.conversation import RowProblem
from ftwizard.data.files.source import FileProblem, Source
from ftwizard.data.quoted import quoted
from ftwizard.errors import USAGE

Row = tuple[int, bytes | RowProblem]
"""The 1-based number of a record, and its JSON."""
BATCH_ROWS = 500


def read_rows(source: Source, kind: str) -> Iterator[Row]:
    """Yield the records of a ``parquet`` or ``arrow`` file.

    A value that JSON cannot represent drops its record; damage drops the rest of its row group.
    Raises FileProblem if pyarrow is missing or cannot read the file.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError:
        raise FileProblem(
            "unreadable",
            f"{source.display_name} is {'a Parquet' if kind == 'parquet' else 'an Arrow'} file, but "
            "pyarrow is not installed.",
            "Install it with: pip install 'ftwizard[local]'",
            USAGE,
        ) from None
    # Arrow raises errors of several families, MemoryError among them.
    errors = (pa.ArrowException, OSError, ValueError, MemoryError)
    with open(source.fileno(), "rb", buffering=0, closefd=False) as file:
        try:
            parts = _split_parquet(file) if kind == "parquet" else _split_arrow(file, source)
        except errors as error:
            raise FileProblem(
                "binary",
                f"{source.display_name} is a truncated or damaged "
                f"{'Parquet' if kind == 'parquet' else 'Arrow'} file: {quoted(str(error), 200)}.",
                "Download it again.",
            ) from None
        yield from _read_parts(parts, errors)


class _Part(NamedTuple):
    """A row group or record batch: readable even if another one is damaged."""

    row_count: int | None
    """Number of its records, if known without reading them."""
    tables: Callable[[], Iterator[Any]]


def _read_parts(parts: list[_Part], errors: tuple[type[Exception], ...]) -> Iterator[Row]:
    done = 0
    for part in parts:
        before = done
        try:
            for table in part.tables():
                yield from _read_table(table, done)
                done += table.num_rows
        except errors as error:
            end = before + part.row_count if part.row_count is not None else None
            lost = f"records {done + 1:,} to {end:,}" if end else f"records from {done + 1:,} on"
            message = f"{lost} are damaged: {quoted(str(error), 200)}"
            yield done + 1, RowProblem("binary", message, "download the file again")
        if part.row_count is not None:
            done = before + part.row_count


def _read_table(table: Any, done: int) -> Iterator[Row]:
    with contextlib.suppress(arrow_rows.NoJson):
        ((_, text),) = arrow_rows.to_json_lines([table])
        yield from enumerate(text.split(b"\n")[:-1], done + 1)
        return
    for index in range(table.num_rows):
        number = done + index + 1
        try:
            ((_, text),) = arrow_rows.to_json_lines([table.slice(index, 1)])
            yield number, text[:-1]
        except arrow_rows.NoJson as problem:
            yield (
                number,
                RowProblem(problem.code, problem.detail, "write it as text, or leave it out"),
            )


def _split_parquet(file: Any) -> list[_Part]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    opened = pq.ParquetFile(file, buffer_size=1 << 20)

    def tables(group: int) -> Iterator[Any]:
        for batch in opened.iter_batches(BATCH_ROWS, row_groups=[group]):
            yield pa.Table.from_batches([batch])

    groups = range(opened.num_row_groups)
    return [
        _Part(opened.metadata.row_group(group).num_rows, functools.partial(tables, group))
        for group in groups
    ]


def _split_arrow(file: Any, source: Source) -> list[_Part]:
    import pyarrow as pa

    if not is_arrow_file(source.read(0, 8)):
        stream = pa.ipc.open_stream(file)
        return [_Part(None, lambda: (part for batch in stream for part in _slice_batch(batch)))]
    opened = pa.ipc.open_file(file)
    return [
        _Part(None, functools.partial(lambda index: _slice_batch(opened.get_batch(index)), index))
        for index in range(opened.num_record_batches)
    ]


def _slice_batch(batch: Any) -> Iterator[Any]:
    import pyarrow as pa

    table = pa.Table.from_batches([batch])
    for start in range(0, table.num_rows, BATCH_ROWS):
        yield table.slice(start, BATCH_ROWS)


def is_arrow_file(head: bytes) -> bool:
    """Return whether ``head`` begins a file in the Arrow IPC file format."""
    return head.startswith(b"ARROW1\x00\x00")


def is_arrow_stream(head: bytes) -> bool:
    """Return whether ``head`` begins an Arrow IPC stream, the format that ``datasets`` saves."""
    size = int.from_bytes(head[4:8], "little")
    return head.startswith(b"\xff\xff\xff\xff") and 0 < size < 1 << 26 and size % 8 == 0
