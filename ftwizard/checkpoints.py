"""Checkpoints that count: a marker with every file's size, and only what fits it exists for us.

A kill during a save leaves a torn folder under the newest name, on which Hugging Face's own resume
fails. ``train/saved.py`` writes the marker after everything is on disk.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

MARKER = "ftwizard.json"
NAME = re.compile(r"checkpoint-(\d+)")
_NEEDED = ("trainer_state.json", "optimizer.pt", "scheduler.pt")


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The marker of a complete checkpoint."""

    step: int
    attempt: int
    files: dict[str, int]
    """Name → size in bytes, of every file but the marker."""
    eval_loss: float | None = None
    """Validation loss at this step, where it was measured then."""
    tokens: int = 0
    """Tokens that the run had seen by then, over all attempts."""
    seconds: float = 0.0
    """How long saving took."""

    @property
    def name(self) -> str:
        return f"checkpoint-{self.step}"


def read(path: Path) -> Checkpoint | None:
    """Return the marker of the checkpoint at ``path``, or None when it is not complete."""
    try:
        marker = msgspec.json.decode((path / MARKER).read_bytes(), type=Checkpoint)
    except (OSError, msgspec.MsgspecError):
        return None
    if marker.name != path.name or not all(name in marker.files for name in _NEEDED):
        return None
    try:
        whole = all((path / name).stat().st_size == size for name, size in marker.files.items())
    except OSError:
        return None
    return marker if whole and _weights_open(path, marker.files) else None


def all_complete(folder: Path) -> list[Checkpoint]:
    """Return the complete checkpoints below ``folder``, by step."""
    if not folder.is_dir():
        return []
    found = (read(path) for path in folder.iterdir() if NAME.fullmatch(path.name))
    return sorted((marker for marker in found if marker), key=lambda marker: marker.step)


def best(checkpoints: Iterable[Checkpoint]) -> Checkpoint | None:
    """Return the one with the lowest validation loss (the earlier of equals)."""
    measured = [c for c in checkpoints if c.eval_loss is not None]
    return min(measured, key=lambda c: (c.eval_loss, c.step), default=None)


def _weights_open(path: Path, files: dict[str, int]) -> bool:
    """Check that each safetensors file holds as many bytes as its header says."""
    weights = [name for name in files if name.endswith(".safetensors")]
    return bool(weights) and all(_is_whole_safetensors(path / name) for name in weights)


def _is_whole_safetensors(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > 100_000_000:
                return False
            header = msgspec.json.decode(file.read(length))
            ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
            return 8 + length + max(ends, default=0) == os.fstat(file.fileno()).st_size
    except (OSError, msgspec.MsgspecError, KeyError, TypeError, AttributeError):
        return False
