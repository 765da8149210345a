"""The result of a run's training, ``trained.json``."""

from __future__ import annotations

import msgspec

from ftwizard.jobs.folder import JobFolder
from ftwizard.plan.schema import Method


class TrainResult(msgspec.Struct, frozen=True, kw_only=True):
    """Written once the training has ended and its adapter, if any, is in place."""

    method: Method
    reason: str
    """``finished``, ``early_stopped`` or ``stopped``."""
    message: str
    targets: list[str]
    """Modules and parameters with an adapter; empty for a full fine-tune."""
    step: int
    """Step of the resulting weights: the best evaluation, else the last step."""
    eval_loss: float | None
    last_step: int
    total_steps: int
    base: str
    """Folder of the base model."""
    base_name: str
    """Name of the base model for a person: a Hub id or a folder."""
    end_ids: list[int]
    """Tokens that end an answer."""
    rows: dict[str, int]
    """Rows read and used, by part: ``train_given``, ``train_used``, …"""
    left_out: dict[str, list[int]] = {}
    """Lines of unused rows by part, the first thousand."""
    unreadable: dict[str, int] = {}
    """Rows of each file that could not be read and were skipped, as the plan allows."""
    tokens: int
    """Tokens trained on, over all attempts."""
    trainable_text: list[str]
    """Template text that counts toward the loss."""


def read(folder: JobFolder) -> TrainResult | None:
    """Return the result, or None if the training has not ended or another version wrote it.

    In the latter case the result is built again from the checkpoints.
    """
    try:
        return msgspec.json.decode(folder.trained.read_bytes(), type=TrainResult)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
