"""``trained.json``: how the training of a run ended, and which weights are its result."""

from __future__ import annotations

import msgspec

from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.plan import Method


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """Written once the training is over and its adapter, if it has one, is in place."""

    method: Method

    reason: str
    """``finished``, ``early_stopped`` or ``stopped``."""
    message: str
    targets: list[str]
    """Modules and parameters that have an adapter; empty when all weights are trained."""
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
    left_out: dict[str, list[int]] = {}
    """Lines of the rows given and not used, by part: the first thousand."""
    unreadable: dict[str, int] = {}
    """Rows of each file that could not be read and were skipped, as the plan allows."""
    tokens: int
    """Tokens seen, over all attempts."""
    template_added: list[str]
    """What the chat template itself puts into the loss."""


def read(folder: JobFolder) -> Trained | None:
    """Return how the training ended, or None before it has.

    Also for what another version wrote: the checkpoints tell the same once more.
    """
    try:
        return msgspec.json.decode(folder.trained.read_bytes(), type=Trained)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def write(folder: JobFolder, trained: Trained) -> None:
    """Say that the training is over."""
    write_json(folder.trained, trained)
