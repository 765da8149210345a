"""Tensors in safetensors files, read and written in blocks: never a whole model in memory.

Files are read, not mapped: mapped pages count as memory of this process on some systems.
Format: https://huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import xxhash

from ftwizard.errors import FtwizardError
from ftwizard.models import weight_files
from ftwizard.text import make_visible

COPIED_BYTES = 8 << 20
"""Bytes of a tensor that are copied at once."""
MAX_BLOCK_ELEMENTS = 1 << 18
"""Elements of a tensor that are computed at once: 2 MB in 64 bit, which stay in a processor's cache."""
_ALIGNMENT = 8


class StoredTensor(msgspec.Struct, frozen=True):
    """A tensor in a safetensors file."""

    name: str
    path: Path
    dtype: str
    """As in the file's header: ``BF16``, ``F32``, …"""
    shape: tuple[int, ...]
    begin: int
    """Offset of its first byte in the file."""
    size_bytes: int


def list_tensors(path: Path) -> list[StoredTensor]:
    """Return the tensors of a file in the order of their bytes; raise FtwizardError if it is damaged."""
    if problem := weight_files.find_problem(path):
        raise FtwizardError(
            f"{make_visible(str(path))} {problem.text}.", "Download or copy it again.",
            code=weight_files.DAMAGED,
        )  # fmt: skip
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = msgspec.json.decode(file.read(length))
    header.pop("__metadata__", None)
    tensors = []
    for name, entry in header.items():
        first, end = entry["data_offsets"]
        shape = tuple(entry["shape"])
        tensors.append(
            StoredTensor(name, path, entry["dtype"], shape, 8 + length + first, end - first)
        )
    return sorted(tensors, key=lambda tensor: (tensor.begin, tensor.size_bytes))


def iterate_bytes(tensor: StoredTensor) -> Iterator[memoryview]:
    """Yield the bytes of a tensor in blocks, each valid until the next one."""
    block = memoryview(bytearray(min(tensor.size_bytes, COPIED_BYTES)))
    with tensor.path.open("rb", buffering=0) as file:
        file.seek(tensor.begin)
        left = tensor.size_bytes
        while left:
            count = file.readinto(block[:left])
            if not count:
                raise _make_short_error(tensor)
            left -= count
            yield block[:count]


class Buffers:
    """Memory for the blocks of a tensor, one after the other: new pages cost more time than sums."""

    def __init__(self) -> None:
        self._tensors: dict[tuple[str, Any], Any] = {}

    def take(self, use: str, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return an uninitialized tensor; it is valid until the next call for this ``use``."""
        import torch

        size = math.prod(shape)
        buffer = self._tensors.get((use, dtype))
        if buffer is None or buffer.numel() < size:
            buffer = self._tensors[use, dtype] = torch.empty(size, dtype=dtype)
        return buffer[:size].view(shape)

    def copy(self, use: str, value: Any, dtype: Any) -> Any:
        """Return ``value`` as ``dtype``, valid until the next call for this ``use``."""
        return self.take(use, tuple(value.shape), dtype).copy_(value)


def read(
    tensor: StoredTensor, first: int = 0, end: int | None = None, buffers: Buffers | None = None
) -> Any:
    """Return a tensor, or its rows from ``first`` to ``end``, as it is stored.

    With ``buffers``, it is valid until the next call for this file.
    """
    shape = tensor.shape
    begin, size = tensor.begin, tensor.size_bytes
    if end is not None:
        row_bytes = size // shape[0]
        begin, size = begin + first * row_bytes, (end - first) * row_bytes
        shape = (end - first, *shape[1:])
    buffers = buffers or Buffers()
    result = buffers.take(str(tensor.path), shape, to_torch_dtype(tensor.dtype))
    if not size:
        return result
    # Into torch's own memory: its alignment is always the same, and so are the results of a product.
    target = to_bytes(result)
    with tensor.path.open("rb", buffering=0) as file:
        file.seek(begin)
        done = 0
        while done < size:
            count = file.readinto(target[done:])
            if not count:
                raise _make_short_error(tensor)
            done += count
    return result


def _make_short_error(tensor: StoredTensor) -> FtwizardError:
    return FtwizardError(
        f"{make_visible(str(tensor.path))} became shorter while it was read.",
        "Restore it, then start again.",
    )


def to_bytes(value: Any) -> memoryview:
    """Return the bytes of a torch tensor."""
    import torch

    data: Any = value.contiguous().reshape(-1).view(torch.uint8).numpy()
    return memoryview(data)


def iterate_rows(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Yield the first and the end row of each block of a tensor that is computed by rows."""
    if not shape:
        return
    width = math.prod(shape[1:]) or 1
    step = max(1, MAX_BLOCK_ELEMENTS // width)
    for first in range(0, shape[0], step):
        yield first, min(shape[0], first + step)


@functools.cache
def _list_dtypes() -> dict[str, Any]:
    import torch

    return {
        "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16,
        "I32": torch.int32, "I64": torch.int64, "F16": torch.float16, "BF16": torch.bfloat16,
        "F32": torch.float32, "F64": torch.float64,
    }  # fmt: skip


def to_torch_dtype(name: str) -> Any:
    """Return torch's type for one in a header; raise FtwizardError for a type that has none here."""
    try:
        return _list_dtypes()[name]
    except KeyError:
        raise FtwizardError(
            f"Tensors of type {make_visible(name, 20)} cannot be merged: they are quantized.",
            "Use the original 16-bit model.",
        ) from None


class ShardWriter:
    """Writes one safetensors file, tensor by tensor, in the order of its header."""

    def __init__(self, path: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        """Write the header; ``tensors`` are type and shape by name."""
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        offset = 0
        for name, (dtype, shape) in tensors.items():
            end = offset + math.prod(shape) * count_bytes(dtype)
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
            offset = end
        encoded = msgspec.json.encode(header)
        encoded += b" " * (-len(encoded) % _ALIGNMENT)
        self.expected = 8 + len(encoded) + offset
        self.size = 0
        self._digest = xxhash.xxh3_128()
        self._file = path.open("wb")
        self.write(len(encoded).to_bytes(8, "little") + encoded)

    def write(self, data: bytes | memoryview) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            error.filename = self._file.name  # which the system does not say of a write
            raise
        self._digest.update(data)
        self.size += len(data)

    def close(self) -> str:
        """Sync the file to disk and return its XXH3-128."""
        if self.size != self.expected:
            raise RuntimeError(f"{self._file.name}: {self.size} of {self.expected} bytes written")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._digest.hexdigest()

    def abandon(self) -> None:
        """Close the file as it is."""
        self._file.close()


def count_bytes(dtype: str) -> int:
    """Return the bytes of one element."""
    return int(to_torch_dtype(dtype).itemsize)


def sum_bytes(tensors: Iterable[StoredTensor]) -> int:
    return sum(tensor.size_bytes for tensor in tensors)
