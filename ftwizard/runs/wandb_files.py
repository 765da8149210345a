"""A reader of the file in which W&B keeps a run, ``run-ID.wandb``: its history, as it grows.

The file is a log of LevelDB: blocks of 32 KiB, in which records may continue from one to the next
(https://github.com/google/leveldb/blob/main/doc/log_format.md), after a header of W&B's own. A
record is a ``Record`` of W&B's ``wandb_internal.proto``.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ftwizard.runs.protobuf import (
    MalformedMessage,
    iterate_fields,
    to_bytes,
    to_float,
    to_int,
    to_signed,
    to_text,
)

ENDING = ".wandb"
BLOCK_BYTES = 32 * 1024
MAX_RECORD_BYTES = 1 << 24
"""A longer record is skipped."""
MAGIC = b":W&B"
_FILE_HEADER, _HEADER = 7, 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
Row = dict[str, Any]


class HistoryFile:
    """Reads the rows that a run logged since the last call.

    A part that does not match its checksum is skipped with the rest of its block, and counted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.torn = 0
        """Parts that were skipped."""
        self.damaged_at: int | None = None
        """The byte from which on nothing could be read, as long as its block is not complete."""
        self.is_foreign = False
        """Whether the file begins with something else than W&B's header."""
        self.exit_code: int | None = None
        """Exit code of the script, once it ended."""
        self._parts = b""
        """The record so far, of which parts follow."""
        self._is_whole = False
        """Whether these parts begin with its first one."""

    def read(self, limit: int) -> list[Row]:
        """Return the rows of about ``limit`` new bytes. Raises OSError."""
        rows: list[Row] = []
        with self.path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not self._skip_header(file, size):
                return rows
            end = min(size, self.offset + limit)
            while self.offset < end and (record := self._read_part(file, size)) is not None:
                if record and (row := self._parse(record)):
                    rows.append(row)
        return rows

    def _skip_header(self, file: BinaryIO, size: int) -> bool:
        if self.offset == 0 and size >= _FILE_HEADER:
            self.is_foreign = file.read(len(MAGIC)) != MAGIC
            self.offset = 0 if self.is_foreign else _FILE_HEADER
        return self.offset > 0

    def _read_part(self, file: BinaryIO, size: int) -> bytes | None:
        """Read the next part; return its record if that is complete, else nothing.

        None if its end is not written yet.
        """
        block_end = (self.offset // BLOCK_BYTES + 1) * BLOCK_BYTES
        if block_end - self.offset < _HEADER:  # padding
            self.offset = block_end
            return b"" if block_end <= size else None
        file.seek(self.offset)
        header = file.read(_HEADER)
        if len(header) < _HEADER:
            return None
        checksum, length, kind = struct.unpack("<IHB", header)
        if kind == 0 and length == 0 and checksum == 0:  # reserved, not written yet
            return self._skip_block(block_end, size) if size >= block_end else None
        end = self.offset + _HEADER + length
        if end > block_end or not _FULL <= kind <= _LAST:
            return self._skip_block(block_end, size)
        if end > size:
            return None
        data = file.read(length)
        if zlib.crc32(header[6:] + data) != checksum:
            return self._skip_block(block_end, size)
        self.offset = end
        return self._join(kind, data)

    def _skip_block(self, block_end: int, size: int) -> bytes | None:
        """Skip the rest of a damaged block; what begins with the next one is sound."""
        if block_end > size:
            self.damaged_at = self.offset
            return None
        self.torn += 1
        self.damaged_at = None
        self.offset, self._parts, self._is_whole = block_end, b"", False
        return b""

    def _join(self, kind: int, data: bytes) -> bytes:
        """Add a part to its record; return the record if this was the last one."""
        if kind in (_FULL, _FIRST):
            self._parts, self._is_whole = data, True
        elif self._is_whole:
            self._parts += data
        if len(self._parts) > MAX_RECORD_BYTES:
            self._parts, self._is_whole = b"", False
        if kind in (_FIRST, _MIDDLE) or not self._is_whole:
            return b""
        record, self._parts, self._is_whole = self._parts, b"", False
        return record

    def _parse(self, record: bytes) -> Row | None:
        try:
            for number, value in iterate_fields(record):
                if number == 2:
                    return _parse_history(to_bytes(value))
                if number == 18:
                    self.exit_code = _parse_exit(to_bytes(value))
        except MalformedMessage:
            self.torn += 1
        return None


def _parse_history(message: bytes) -> Row:
    row: Row = {}
    for number, value in iterate_fields(message):
        if number == 1:
            row.update(_parse_item(to_bytes(value)))
        elif number == 2:
            for field, step in iterate_fields(to_bytes(value)):
                if field == 1:
                    row.setdefault("_step", to_int(step))
    return row


def _parse_item(message: bytes) -> Iterator[tuple[str, Any]]:
    """Yield the name of a logged value and the value, if it is a number."""
    names: list[str] = []
    number: Any = None
    for field, value in iterate_fields(message):
        if field in (1, 2):
            names.append(to_text(value))
        elif field == 5:
            number = to_signed(value)
        elif field == 6:
            number = to_float(value)
        elif field in (8, 16):
            number = _parse_json(to_bytes(value))
    if names and isinstance(number, int | float) and not isinstance(number, bool):
        yield "/".join(names), number


def _parse_json(data: bytes) -> Any:
    """Return a number in JSON, with W&B's words for what JSON has no number for."""
    words = {b"NaN": float("nan"), b"Infinity": float("inf"), b"-Infinity": float("-inf")}
    if (word := data.strip().strip(b'"')) in words:
        return words[word]
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _parse_exit(message: bytes) -> int:
    code = 0
    for number, value in iterate_fields(message):
        if number == 1:
            code = to_int(value)
    return code
