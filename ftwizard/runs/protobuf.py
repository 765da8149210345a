"""A reader of protobuf messages by field number, without their descriptors.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

Field = tuple[int, int | bytes]
"""A field's number and its value: an int of a varint, else its bytes (4, 8, or as long as given)."""
_MAX_VARINT_BYTES = 10


class MalformedMessage(ValueError):
    """Raised for bytes that are no protobuf message."""


def iterate_fields(data: bytes) -> Iterator[Field]:
    """Yield the fields of a message in their order; raise MalformedMessage where it is damaged."""
    position, end = 0, len(data)
    while position < end:
        key, position = _read_varint(data, position)
        number, wire_type = key >> 3, key & 7
        if number == 0:
            raise MalformedMessage("field number 0")
        if wire_type == 0:
            value, position = _read_varint(data, position)
            yield number, value
            continue
        if wire_type == 2:
            size, position = _read_varint(data, position)
        elif wire_type in (1, 5):
            size = 8 if wire_type == 1 else 4
        else:
            raise MalformedMessage(f"wire type {wire_type}")
        if size > end - position:
            raise MalformedMessage("a field ends after its message")
        yield number, data[position : position + size]
        position += size


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for count in range(_MAX_VARINT_BYTES):
        if position >= len(data):
            raise MalformedMessage("a number ends after its message")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
    raise MalformedMessage("a number of more than 10 bytes")


def to_bytes(value: int | bytes) -> bytes:
    """Return a field that must be bytes, such as a message in a message."""
    if isinstance(value, int):
        raise MalformedMessage("a number in place of bytes")
    return value


def to_text(value: int | bytes) -> str:
    return to_bytes(value).decode("utf-8", "replace")


def to_int(value: int | bytes) -> int:
    """Return a field of type int32 or int64."""
    if not isinstance(value, int):
        raise MalformedMessage("bytes in place of a number")
    return value - (1 << 64) if value >= 1 << 63 else value


def to_signed(value: int | bytes) -> int:
    """Return a field of type sint32 or sint64, whose sign is its last bit."""
    if not isinstance(value, int):
        raise MalformedMessage("bytes in place of a number")
    return (value >> 1) ^ -(value & 1)


def to_float(value: int | bytes) -> float:
    """Return a field of type float or double."""
    data = to_bytes(value)
    if len(data) not in (4, 8):
        raise MalformedMessage("a float that does not have 4 or 8 bytes")
    return float(struct.unpack("<f" if len(data) == 4 else "<d", data)[0])
