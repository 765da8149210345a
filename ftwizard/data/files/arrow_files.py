"""Rows of Parquet and Arrow files, a batch at a time."""

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
BATCH = 500


def rows(source: Source, kind: str) -> Iterator[Row]:
    """Yield the records of a ``parquet`` or ``arrow`` file.

    A value that JSON cannot hold costs its record, damage the records of its row group. Raises
    FileProblem where pyarrow is missing, or the file is none that it reads.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError:
        raise FileProblem(
            "unreadable",
            f"{source.shown} is {'a Parquet' if kind == 'parquet' else 'an Arrow'} file, and the "
            "package pyarrow is not installed.",
            "Install it with: pip install 'ftwizard[local]'",
            USAGE,
        ) from None
    # Arrow's errors are of several families, and memory is one of them.
    errors = (pa.ArrowException, OSError, ValueError, MemoryError)
    with open(source.fileno(), "rb", buffering=0, closefd=False) as file:
        try:
            parts = _parquet(file) if kind == "parquet" else _arrow(file, source)
        except errors as error:
            raise FileProblem(
                "binary",
                f"{source.shown} begins as {'Parquet' if kind == 'parquet' else 'Arrow'} but "
                f"breaks off or is damaged: {quoted(str(error), 200)}.",
                "Fetch it again.",
            ) from None
        yield from _of_parts(parts, errors)


class _Part(NamedTuple):
    """What can be read though another is damaged."""

    rows: int | None
    """Of its records, where that is known without reading it."""
    tables: Callable[[], Iterator[Any]]


def _of_parts(parts: list[_Part], errors: tuple[type[Exception], ...]) -> Iterator[Row]:
    done = 0
    for part in parts:
        before = done
        try:
            for table in part.tables():
                yield from _of_table(table, done)
                done += table.num_rows
        except errors as error:
            end = before + part.rows if part.rows is not None else None
            lost = f"records {done + 1:,} to {end:,}" if end else f"records from {done + 1:,} on"
            what = f"{lost} are damaged: {quoted(str(error), 200)}"
            yield done + 1, RowProblem("binary", what, "fetch the file again")
        if part.rows is not None:
            done = before + part.rows


def _of_table(table: Any, done: int) -> Iterator[Row]:
    with contextlib.suppress(arrow_rows.NoJson):
        ((_, text),) = arrow_rows.lines([table])
        yield from enumerate(text.split(b"\n")[:-1], done + 1)
        return
    for place in range(table.num_rows):
        number = done + place + 1
        try:
            ((_, text),) = arrow_rows.lines([table.slice(place, 1)])
            yield number, text[:-1]
        except arrow_rows.NoJson as problem:
            yield (
                number,
                RowProblem(problem.code, problem.what, "write it as text, or leave it out"),
            )


def _parquet(file: Any) -> list[_Part]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    opened = pq.ParquetFile(file, buffer_size=1 << 20)

    def tables(group: int) -> Iterator[Any]:
        for batch in opened.iter_batches(BATCH, row_groups=[group]):
            yield pa.Table.from_batches([batch])

    groups = range(opened.num_row_groups)
    return [
        _Part(opened.metadata.row_group(group).num_rows, functools.partial(tables, group))
        for group in groups
    ]


def _arrow(file: Any, source: Source) -> list[_Part]:
    import pyarrow as pa

    if not is_arrow_file(source.read(0, 8)):
        stream = pa.ipc.open_stream(file)
        return [_Part(None, lambda: (part for batch in stream for part in _sliced(batch)))]
    opened = pa.ipc.open_file(file)
    return [
        _Part(None, functools.partial(lambda place: _sliced(opened.get_batch(place)), place))
        for place in range(opened.num_record_batches)
    ]


def _sliced(batch: Any) -> Iterator[Any]:
    import pyarrow as pa

    table = pa.Table.from_batches([batch])
    for start in range(0, table.num_rows, BATCH):
        yield table.slice(start, BATCH)


def is_arrow_file(head: bytes) -> bool:
    """Say whether a file that begins so is Arrow's file format."""
    return head.startswith(b"ARROW1\x00\x00")


def is_arrow_stream(head: bytes) -> bool:
    """Say whether a file that begins so is Arrow's stream format, in which ``datasets`` saves."""
    size = int.from_bytes(head[4:8], "little")
    return head.startswith(b"\xff\xff\xff\xff") and 0 < size < 1 << 26 and size % 8 == 0
