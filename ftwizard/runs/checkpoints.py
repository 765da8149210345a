"""Complete checkpoints: those with a marker whose file sizes match.

A kill during a save leaves a torn folder under the newest name, on which Hugging Face's own resume
fails. ``train/checkpoint_rotation.py`` writes the marker once everything is on disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ftwizard.jobs.folder import read_json
from ftwizard.models.weight_files import find_problem

MARKER = "ftwizard.json"
NAME = re.compile(r"checkpoint-(\d+)")
_REQUIRED = {"trainer_state.json", "optimizer.pt", "scheduler.pt"}


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The marker of a complete checkpoint."""

    step: int
    attempt: int
    files: dict[str, int]
    """Name → size in bytes, of every file but the marker."""
    eval_loss: float | None = None
    """Validation loss at this step, if it was measured."""
    tokens: int = 0
    """Tokens trained on up to this step, over all attempts."""
    seconds: float = 0.0
    """Duration of the save."""

    @property
    def name(self) -> str:
        return f"checkpoint-{self.step}"


def read(path: Path) -> Checkpoint | None:
    """Return the marker of the checkpoint at ``path``, or None if it is not complete."""
    marker = read_json(path / MARKER, Checkpoint)
    if marker is None or marker.name != path.name or not marker.files.keys() >= _REQUIRED:
        return None
    try:
        intact = all((path / name).stat().st_size == size for name, size in marker.files.items())
    except OSError:
        return None
    weights = [path / name for name in marker.files if name.endswith(".safetensors")]
    return marker if intact and weights and not any(map(find_problem, weights)) else None


def all_complete(folder: Path) -> list[Checkpoint]:
    """Return the complete checkpoints in ``folder``, by step."""
    if not folder.is_dir():
        return []
    markers = (read(path) for path in folder.iterdir() if NAME.fullmatch(path.name))
    return sorted((marker for marker in markers if marker), key=lambda marker: marker.step)


def find_best(checkpoints: Iterable[Checkpoint]) -> Checkpoint | None:
    """Return the checkpoint with the lowest validation loss, the earliest of equals."""
    evaluated = [item for item in checkpoints if item.eval_loss is not None]
    return min(evaluated, key=lambda item: (item.eval_loss, item.step), default=None)
