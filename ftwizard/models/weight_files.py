"""Weight files of a model: which are loaded, and whether each is a whole safetensors file.

Only headers are read, so that 140 GB of weights take milliseconds. A header names each tensor's
type, shape and bytes, so that a file that was cut, or is something else, is noticed; a changed
byte of a tensor is not (``train/base_weights.py``).
Format: https://huggingface.co/docs/safetensors (header at most 100 MB, tensors without gaps).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.models import model_folder
from ftwizard.text import format_bytes, make_visible

MAX_HEADER_BYTES = 100_000_000
"""Limit of the safetensors library."""
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
DAMAGED = "damaged_weights"
"""Code of the error for a damaged weight file."""
_LFS = b"version https://git-lfs.github.com/"
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16,
    "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64,
    "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


class _Tensor(msgspec.Struct, frozen=True):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


class WeightProblem(NamedTuple):
    """Why a file cannot be loaded as weights."""

    text: str
    """Continues “FILE”: ``is empty``."""
    is_pointer: bool = False
    """Whether it is a Git LFS pointer, whose content was never downloaded."""


def list_files(folder: Path) -> list[Path]:
    """Return the safetensors files that are loaded from a model's folder, existing or not.

    As transformers chooses them: one file, else those of the index. Without either, all.
    """
    if (folder / SINGLE).exists():
        return [folder / SINGLE]
    names = _read_index(folder)
    return [folder / name for name in names] if names else sorted(folder.glob("*.safetensors"))


def check_folder(folder: Path, fix: str = "Download or copy it again.") -> None:
    """Raise FtwizardError for the first weight file of a folder that cannot be loaded.

    ``fix`` is what to do about it.
    """
    index = folder / INDEX
    if index.exists() and not (folder / SINGLE).exists() and not _read_index(folder):
        text = f"{make_visible(str(index))} is damaged: it does not list the weight files."
        raise FtwizardError(text, fix, code=DAMAGED)
    for path in list_files(folder):
        if problem := find_problem(path):
            if problem.is_pointer:
                shown = make_visible(str(folder))
                fix = f"Run “git lfs pull” in {shown}, or download the model again."
            raise FtwizardError(f"{make_visible(str(path))} {problem.text}.", fix, code=DAMAGED)


def _read_index(folder: Path) -> list[str]:
    """Return the names in a folder's index, [] if it is missing or damaged."""
    index = model_folder.read_json(folder / INDEX)
    shards = index.get("weight_map") if index else None
    names = list(shards.values()) if isinstance(shards, dict) else []
    return sorted(set(names)) if all(isinstance(name, str) for name in names) else []


def find_problem(path: Path) -> WeightProblem | None:
    """Return why a safetensors file cannot be loaded, None if its header fits its length."""
    if not path.is_file():
        return WeightProblem("is missing")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(max(8, len(_LFS)))
            if size == 0:
                return WeightProblem("is empty")
            if head.startswith(_LFS):
                return WeightProblem(
                    "is a Git LFS pointer, not the weights themselves", is_pointer=True
                )
            length = int.from_bytes(head[:8], "little")
            if size < 8 or length > MAX_HEADER_BYTES:
                return WeightProblem("is not a safetensors file")
            if 8 + length > size:
                return _cut(size, 8 + length)
            file.seek(8)
            header = file.read(length)
    except OSError as error:
        return WeightProblem(f"could not be read: {error.strerror}")
    return _check_header(header, size)


def _check_header(header: bytes, size: int) -> WeightProblem | None:
    damaged = WeightProblem("is damaged: its header is not valid")
    try:
        values: dict[str, Any] = msgspec.json.decode(header, type=dict[str, Any])
        values.pop("__metadata__", None)
        tensors = msgspec.convert(values, dict[str, _Tensor])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return damaged
    end = 0
    for begin, stop, count in sorted(_list_spans(tensors), key=lambda span: span[:2]):
        if begin != end or stop < begin or count not in (None, stop - begin):
            return damaged
        end = stop
    expected = 8 + len(header) + end
    if expected > size:
        return _cut(size, expected)
    if expected < size:
        extra = format_bytes(size - expected)
        return WeightProblem(f"is damaged: it has {extra} more than its header lists")
    return None


def _list_spans(tensors: dict[str, _Tensor]) -> Iterator[tuple[int, int, int | None]]:
    """Yield the bytes of each tensor: begin, end, and their number by its shape (None: unknown)."""
    for tensor in tensors.values():
        bits = _BITS.get(tensor.dtype)
        count = None if bits is None else bits * math.prod(tensor.shape) // 8
        yield *tensor.data_offsets, count


def _cut(size: int, expected: int) -> WeightProblem:
    missing = format_bytes(expected - size)
    return WeightProblem(f"is incomplete: {missing} of {format_bytes(expected)} is missing")
