"""Logs of other tools, written byte by byte: TensorBoard event files and W&B run files."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from ftwizard.runs.tensorboard import crc32c, mask
from ftwizard.runs.wandb_files import BLOCK_BYTES


def varint(value: int) -> bytes:
    data = b""
    while value >= 0x80:
        data += bytes([value & 0x7F | 0x80])
        value >>= 7
    return data + bytes([value])


def field(number: int, value: float | bytes | str) -> bytes:
    """Return a field of a protobuf message: a varint, a double, or bytes with their length."""
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def event(step: int, scalars: Mapping[str, float], t: float = 1e9) -> bytes:
    """Return an ``Event`` of TensorBoard with simple values."""
    values = b"".join(
        field(1, field(1, tag) + varint(2 << 3 | 5) + struct.pack("<f", value))
        for tag, value in scalars.items()
    )
    return field(1, t) + field(2, step) + field(5, values)


def tensor_event(step: int, tag: str, value: float) -> bytes:
    """Return an ``Event`` as TensorFlow 2 writes scalars: a tensor of one float."""
    tensor = field(1, 1) + field(2, b"") + field(4, struct.pack("<f", value))
    return field(1, 1e9) + field(2, step) + field(5, field(1, field(1, tag) + field(8, tensor)))


def to_tfrecords(records: Iterable[bytes]) -> bytes:
    data = b""
    for record in records:
        length = struct.pack("<Q", len(record))
        data += length + struct.pack("<I", mask(crc32c(length)))
        data += record + struct.pack("<I", mask(crc32c(record)))
    return data


def history(row: Mapping[str, Any], step: int) -> bytes:
    """Return a ``Record`` of W&B with a row of its history."""
    items = b"".join(field(1, field(1, key) + field(16, json.dumps(row[key]))) for key in row)
    return field(1, step) + field(2, items + field(2, field(1, step)))


def exit_record(code: int) -> bytes:
    return field(18, field(1, code) + field(2, 60))


def to_leveldb_log(records: Iterable[bytes]) -> bytes:
    """Return a W&B file: its header, then the records in parts that do not cross a block."""
    data = b":W&B\xe1\xbe\x00"
    for record in records:
        rest, is_first = record, True
        while rest or is_first:
            left = BLOCK_BYTES - len(data) % BLOCK_BYTES
            if left < 7:
                data += bytes(left)
                left = BLOCK_BYTES
            part, rest = rest[: left - 7], rest[left - 7 :]
            kind = (1 if not rest else 2) if is_first else (4 if not rest else 3)
            data += struct.pack("<IHB", zlib.crc32(bytes([kind]) + part), len(part), kind) + part
            is_first = False
    return data
