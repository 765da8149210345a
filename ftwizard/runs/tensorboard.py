"""A reader of TensorBoard event files: their scalars, as they grow.

A file is a sequence of records: length, its checksum, data, its checksum (TensorFlow's
``lib/io/record_writer.h``). The data is an ``Event`` of ``tensorflow/core/util/event.proto``.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ftwizard.runs.protobuf import (
    MalformedMessage,
    iterate_fields,
    to_bytes,
    to_float,
    to_int,
    to_text,
)

MARK = ".tfevents."
"""Part of the name of every event file."""
MAX_RECORD_BYTES = 1 << 16
"""A longer record holds pictures or graphs, and is skipped."""
_HEADER, _FOOTER = 12, 4
_FLOAT, _DOUBLE = 1, 2
_POLYNOMIAL = 0x82F63B78


class Scalar(NamedTuple):
    t: float
    """Unix seconds."""
    step: int
    tag: str
    value: float


class EventFile:
    """Reads the scalars that were added to a file since the last call.

    A record whose end is not written yet is read later. One whose data does not match its checksum
    is skipped and counted; where a length does not, nothing says where the next record begins.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.torn = 0
        """Records that were skipped."""
        self.damaged_at: int | None = None
        """The byte after which nothing could be read; None for a sound file."""

    def read(self, limit: int) -> list[Scalar]:
        """Return new scalars, of about ``limit`` bytes. Raises OSError."""
        scalars: list[Scalar] = []
        if self.damaged_at is not None:
            return scalars
        with self.path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            end = min(size, self.offset + limit)
            while self.offset < end and (record := self._read_record(file, size)) is not None:
                if record:
                    scalars += self._parse(record)
        return scalars

    def _read_record(self, file: BinaryIO, size: int) -> bytes | None:
        """Return the next record's data, empty if it is skipped; None if its end is not written yet."""
        file.seek(self.offset)
        header = file.read(_HEADER)
        if len(header) < _HEADER:
            return None
        length, checksum = struct.unpack("<QI", header)
        if checksum != mask(crc32c(header[:8])):
            self.damaged_at = self.offset
            return None
        end = self.offset + _HEADER + length + _FOOTER
        if end > size:
            return None
        self.offset = end
        if length > MAX_RECORD_BYTES:
            return b""
        data, footer = file.read(length), file.read(_FOOTER)
        if struct.unpack("<I", footer)[0] != mask(crc32c(data)):
            self.torn += 1
            return b""
        return data

    def _parse(self, record: bytes) -> list[Scalar]:
        try:
            return list(_parse_event(record))
        except (MalformedMessage, struct.error):
            self.torn += 1
            return []


def _parse_event(record: bytes) -> Iterator[Scalar]:
    t, step, summaries = 0.0, 0, []
    for number, value in iterate_fields(record):
        if number == 1:
            t = to_float(value)
        elif number == 2:
            step = to_int(value)
        elif number == 5:
            summaries.append(to_bytes(value))
    for summary in summaries:
        for number, value in iterate_fields(summary):
            if number == 1 and (named := _parse_value(to_bytes(value))):
                yield Scalar(t, step, *named)


def _parse_value(message: bytes) -> tuple[str, float] | None:
    """Return tag and number of a summary's value; None for pictures, histograms and text."""
    tag, number = "", None
    for field, value in iterate_fields(message):
        if field == 1:
            tag = to_text(value)
        elif field == 2:
            number = to_float(value)
        elif field == 8:
            number = _parse_tensor(to_bytes(value))
    return None if number is None or not tag else (tag, number)


def _parse_tensor(message: bytes) -> float | None:
    """Return the number in a tensor, as TensorFlow 2 writes scalars; None for others."""
    kind, content, sizes = 0, b"", 0
    for field, value in iterate_fields(message):
        if field == 1:
            kind = to_int(value)
        elif field == 2:
            sizes += len(to_bytes(value))  # dimensions
        elif field in (4, 5, 6):
            content += to_bytes(value)
    expected = {_FLOAT: 4, _DOUBLE: 8}.get(kind)
    return to_float(content) if len(content) == expected and not sizes else None


def mask(checksum: int) -> int:
    """Return a checksum as it is stored: a checksum of a checksum would be weak."""
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFF_FFFF


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of some bytes; about 10 MB/s."""
    checksum, table = 0xFFFF_FFFF, _TABLE
    for byte in data:
        checksum = table[(checksum ^ byte) & 0xFF] ^ (checksum >> 8)
    return checksum ^ 0xFFFF_FFFF


def _make_table() -> list[int]:
    table = []
    for byte in range(256):
        checksum = byte
        for _ in range(8):
            checksum = (checksum >> 1) ^ (_POLYNOMIAL if checksum & 1 else 0)
        table.append(checksum)
    return table


_TABLE = _make_table()
