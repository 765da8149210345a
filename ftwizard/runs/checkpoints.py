"""Complete checkpoints: those with a marker whose file sizes match; sound ones: the hashes, too.

A kill during a save leaves a torn folder under the newest name, on which Hugging Face's own resume
fails. ``train/checkpoint_rotation.py`` writes the marker once everything is on disk. Lists and
views compare sizes only; before a checkpoint is loaded, all its bytes are compared with the hashes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import xxhash

from ftwizard.jobs.folder import has_hash, read_json
from ftwizard.models.weight_files import INDEX, find_problem
from ftwizard.text import make_visible

MARKER = "ftwizard.json"
NAME = re.compile(r"checkpoint-(\d+)")
MAX_NAMED = 3
"""Damaged files that a message lists."""
_REQUIRED = {"trainer_state.json", "optimizer.pt", "scheduler.pt"}


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The marker of a complete checkpoint."""

    step: int
    attempt: int
    files: dict[str, int]
    """Name → size in bytes, of every file but the marker."""
    hashes: dict[str, str]
    """Name → XXH3-128 of the file's bytes."""
    eval_loss: float | None = None
    """Validation loss at this step, if it was measured."""
    eval_reward: float | None = None
    """Mean reward on the validation prompts, where a run is judged by that and not by its loss."""
    tokens: int = 0
    """Tokens trained on up to this step, over all attempts."""
    seconds: float = 0.0
    """Duration of the save."""
    seal: str = ""
    """XXH3-128 of the marker's other fields."""

    @property
    def name(self) -> str:
        return f"checkpoint-{self.step}"

    @property
    def eval_cost(self) -> float | None:
        """Return what is lowest at the best checkpoint: the loss, or the negative reward."""
        return self.eval_loss if self.eval_reward is None else -self.eval_reward


def compute_seal(values: Mapping[str, Any]) -> str:
    """Return the hash of a marker's fields but its seal, so that a changed loss or step is noticed."""
    bare = {name: value for name, value in values.items() if name != "seal"}
    return xxhash.xxh3_128_hexdigest(msgspec.json.encode(bare, order="deterministic"))


def read(path: Path) -> Checkpoint | None:
    """Return the marker of the checkpoint at ``path``, or None if it is not complete."""
    marker = _read_marker(path)
    if marker is None or any(_has_other_size(path, name, marker) for name in marker.files):
        return None
    return marker


def find_damage(
    path: Path, is_needed: Callable[[str], bool] = lambda name: True, *, is_copy: bool = False
) -> list[str]:
    """Return the names of a marked checkpoint's damaged files, [] if it is sound.

    Every byte is read, of the files that ``is_needed`` chooses. ``is_copy``: the files are in a folder
    of another name.
    """
    marker = _read_marker(path, is_copy=is_copy)
    if marker is None:
        return [MARKER]
    return [name for name in marker.files if is_needed(name) and _is_damaged(path, name, marker)]


def find_newest_sound(
    folder: Path, say: Callable[[str], None] = lambda subject: None
) -> tuple[Checkpoint | None, dict[str, list[str]]]:
    """Return the newest sound checkpoint, and the damaged files of each marked one after it.

    ``say`` gets what is read.
    """
    damaged: dict[str, list[str]] = {}
    for path in reversed(list_marked(folder)):
        say(f"{path.name}, compared with its hashes")
        damage = find_damage(path)
        if not damage:
            return _read_marker(path), damaged
        damaged[path.name] = damage
    return None, damaged


def list_marked(folder: Path) -> list[Path]:
    """Return the checkpoints that were once complete, by step."""
    paths = [path.parent for path in folder.glob(f"checkpoint-*/{MARKER}")]
    numbers = {path: match for path in paths if (match := NAME.fullmatch(path.name))}
    return sorted(numbers, key=lambda path: int(numbers[path][1]))


def all_complete(folder: Path) -> list[Checkpoint]:
    """Return the complete checkpoints in ``folder``, by step."""
    return [marker for path in list_marked(folder) if (marker := read(path))]


def find_best(checkpoints: Iterable[Checkpoint]) -> Checkpoint | None:
    """Return the checkpoint with the lowest validation loss, the earliest of equals.

    Of reinforcement, it is the one with the highest mean reward on the validation prompts.
    """
    evaluated = [(item.eval_cost, item.step, item) for item in checkpoints]
    costs = [(cost, step, item) for cost, step, item in evaluated if cost is not None]
    return min(costs, key=lambda entry: entry[:2])[2] if costs else None


def describe_damage(name: str, files: Sequence[str]) -> str:
    """Describe a damaged checkpoint: ``checkpoint-40 is damaged (optimizer.pt)``."""
    more = f" and {len(files) - MAX_NAMED} more" if len(files) > MAX_NAMED else ""
    listed = ", ".join(make_visible(file, 80) for file in files[:MAX_NAMED])
    return f"{name} is damaged ({listed}{more})"


def is_weights(name: str) -> bool:
    """Return whether a file of a checkpoint is needed to load its weights."""
    return name.endswith(".safetensors") or name in ("adapter_config.json", INDEX)


def _read_marker(path: Path, *, is_copy: bool = False) -> Checkpoint | None:
    """Return a checkpoint's marker; None if it is missing, damaged, or lacks a needed file."""
    values = read_json(path / MARKER, dict[str, Any])
    try:
        marker = msgspec.convert(values, Checkpoint)
    except msgspec.ValidationError:
        return None
    if marker.seal != compute_seal(values or {}):
        return None
    has_weights = any(name.endswith(".safetensors") for name in marker.files)
    is_whole = has_weights and marker.files.keys() >= _REQUIRED
    return marker if is_whole and (is_copy or marker.name == path.name) else None


def _has_other_size(path: Path, name: str, marker: Checkpoint) -> bool:
    """Return whether a file lacks bytes or has too many, by the marker and its own header."""
    file = path / name
    try:
        if file.stat().st_size != marker.files[name]:
            return True
    except OSError:
        return True
    return name.endswith(".safetensors") and find_problem(file) is not None


def _is_damaged(path: Path, name: str, marker: Checkpoint) -> bool:
    is_whole = not _has_other_size(path, name, marker)
    return not (is_whole and has_hash(path / name, marker.hashes.get(name)))
