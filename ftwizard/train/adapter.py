"""``adapter/``: the best weights of a run, and what they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from ftwizard.jobs.folder import JobFolder, publish, write_json
from ftwizard.train.checkpoints import MARKER

_WEIGHTS = ("adapter_config.json", "adapter_model.safetensors")
_TOKENIZER = ("token", "chat_template", "special", "vocab", "merges", "added_tokens")


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """``adapter/ftwizard.json``: which weights these are, and how the training ended."""

    reason: str
    """``finished``, ``early_stopped`` or ``stopped``."""
    message: str
    step: int
    """The step that the weights are of: the best evaluation, else the last."""
    eval_loss: float | None
    last_step: int
    total_steps: int
    base: str
    """Folder of the base model."""
    base_said: str
    end_ids: list[int]
    """Tokens that end an answer."""
    rows: dict[str, int]
    """Rows given and used, by part: ``train_given``, ``train_used``, …"""
    tokens: int
    """Tokens seen, over all attempts."""
    template_added: list[str]
    """What the chat template itself puts into the loss."""


def read(folder: JobFolder) -> Trained | None:
    """Return what ``adapter/`` holds, or None before there is one."""
    try:
        return msgspec.json.decode((folder.adapter / MARKER).read_bytes(), type=Trained)
    except FileNotFoundError:
        return None


def write(folder: JobFolder, checkpoint: Path, trained: Trained) -> None:
    """Make ``adapter/`` hold the weights of ``checkpoint``, whole or not at all."""
    part = folder.path / ".adapter.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    for file in checkpoint.iterdir():
        if file.name in _WEIGHTS or file.name.startswith(_TOKENIZER):
            shutil.copyfile(file, part / file.name)
    write_json(part / MARKER, trained)
    publish(part, folder.adapter)
