"""Saves that fail again and again: when training continues, and when it ends."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.worker import EarlyEnd
from ftwizard.train import checkpoint_saving
from ftwizard.train.checkpoint_saving import CheckpointSaver


class Trainer:
    """Saves to a disk that fails at ``error``, and to every other."""

    def __init__(self, folder: JobFolder, error: int) -> None:
        self.args = SimpleNamespace(output_dir=str(folder.checkpoints))
        self.control = SimpleNamespace(should_training_stop=False)
        self.state = SimpleNamespace(global_step=4, max_steps=100)
        self.error = error
        self.failing = str(folder.path)
        self.saves = 0

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.saves += 1
        path = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        if self.error and str(path).startswith(self.failing):
            raise OSError(self.error, "the disk fails", str(path))
        path.mkdir(parents=True)


@pytest.fixture
def saving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Trainer, list[str]]:
    """Return a trainer with its saver, and the messages of its findings."""
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(checkpoint_saving, "RETRY_S", 0.0)
    folder, messages = JobFolder(tmp_path / "run"), list[str]()
    events = SimpleNamespace(write_finding=lambda _, message, *a, **k: messages.append(message))
    worker: Any = SimpleNamespace(events=events, folder=folder, record=SimpleNamespace(created=1.5))
    trainer = Trainer(folder, errno.EIO)
    CheckpointSaver(worker, trainer, lambda path, step: path.joinpath("marker").touch())
    return trainer, messages


def test_failed_save_is_tried_once_more_and_reported(saving: tuple[Trainer, list[str]]) -> None:
    trainer, messages = saving
    trainer._save_checkpoint(None, None)
    assert trainer.saves == 2
    (message,) = messages
    assert message.startswith("The checkpoint of step 4 could not be saved (the disk fails: ")


def test_saves_that_fail_for_long_end_the_run_with_its_weights_elsewhere(
    saving: tuple[Trainer, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trainer, _ = saving
    trainer._save_checkpoint(None, None)
    monkeypatch.setattr(checkpoint_saving, "MAX_UNSAVED_S", 0.0)
    with pytest.raises(EarlyEnd) as ended:
        trainer._save_checkpoint(None, None)
    assert ended.value.end_reason == "disk_error"
    (marker,) = (tmp_path / "cache").rglob("marker")
    assert str(marker.parents[1]) in ended.value.message
    assert trainer.args.output_dir == str(tmp_path / "run" / "checkpoints")


def test_a_save_that_succeeds_ends_the_outage(
    saving: tuple[Trainer, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, messages = saving
    trainer._save_checkpoint(None, None)
    trainer.error, trainer.state.global_step = 0, 8
    trainer._save_checkpoint(None, None)
    monkeypatch.setattr(checkpoint_saving, "MAX_UNSAVED_S", 60.0)
    trainer.error, trainer.state.global_step = errno.EIO, 12
    trainer._save_checkpoint(None, None)
    assert len(messages) == 2


def test_a_full_disk_is_not_tried_again(saving: tuple[Trainer, list[str]]) -> None:
    trainer, _ = saving
    trainer.error = errno.ENOSPC
    with pytest.raises(OSError, match="the disk fails"):
        trainer._save_checkpoint(None, None)
    assert trainer.saves == 1
