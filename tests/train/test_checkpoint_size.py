"""The size of a first checkpoint, compared with what is trained."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ftwizard.jobs.events import EventReader, EventWriter
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.pace import PaceWriter
from ftwizard.train import callbacks
from ftwizard.train.callbacks import BYTES_PER_WEIGHT, CheckpointKeeper

BASE = 200_000
ADAPTER = 1_000
"""Weights of the frozen base model, and of what is trained."""


class Trainer:
    """Trains an adapter on a base model, and saves a weights file of as many bytes as are set."""

    def __init__(self, folder: JobFolder, saved_bytes: int) -> None:
        base = torch.nn.Linear(BASE, 1, bias=False).requires_grad_(False)
        self.model = torch.nn.Sequential(base, torch.nn.Linear(ADAPTER, 1, bias=False))
        self.args = SimpleNamespace(output_dir=str(folder.checkpoints))
        self.state = SimpleNamespace(global_step=0, max_steps=100)
        self.saved_bytes = saved_bytes

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        path = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        path.mkdir(parents=True)
        (path / "adapter_model.safetensors").write_bytes(bytes(self.saved_bytes))


def save_at(folder: JobFolder, saved_bytes: int, *steps: int) -> list[dict[str, Any]]:
    """Save a checkpoint at each step of one attempt; return the findings on their size."""
    events = EventWriter(folder.events, 1)
    worker: Any = SimpleNamespace(
        folder=folder, attempt=1, events=events, pace=PaceWriter(folder, 1)
    )
    recorder: Any = SimpleNamespace(tokens=0, meter=SimpleNamespace(peak=lambda: None))
    rows: Any = SimpleNamespace(save=lambda path, step: None)
    trainer = Trainer(folder, saved_bytes)
    CheckpointKeeper(worker, recorder, rows).attach(trainer)
    for step in steps:
        trainer.state.global_step = step
        trainer._save_checkpoint(None, None)
    events.close()
    written = EventReader(folder.events).read()
    assert [e["step"] for e in written if e["kind"] == "checkpoint"] == list(steps)
    return [event for event in written if event.get("code") == "large_checkpoint"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobFolder:
    """Return a run's folder; the files next to the weights may take as much as the adapter's."""
    monkeypatch.setattr(callbacks, "OTHER_BYTES", ADAPTER * BYTES_PER_WEIGHT)
    return JobFolder(tmp_path)


def test_checkpoint_with_the_base_model_is_reported_once(folder: JobFolder) -> None:
    size = (BASE + ADAPTER) * 4
    (finding,) = save_at(folder, size, 4, 8)
    assert (finding["severity"], finding["step"]) == ("warning", 4)
    assert finding["evidence"] == {"bytes": size, "expected": ADAPTER * BYTES_PER_WEIGHT}
    assert "has 804 kB; what is trained needs about 12 kB" in finding["message"]


@pytest.mark.parametrize(("excess", "reports"), [(0, 0), (1, 1)])
def test_checkpoint_of_what_is_trained_is_not_reported(
    folder: JobFolder, excess: int, reports: int
) -> None:
    """Up to twice the expected size and the other files, which is the limit."""
    assert len(save_at(folder, 3 * ADAPTER * BYTES_PER_WEIGHT + excess, 4, 8)) == reports
