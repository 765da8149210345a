"""The check of a resumed training: weights in every process, parts restored, the first loss."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import TrainerControl, TrainerState

from ftwizard.errors import FtwizardError
from ftwizard.jobs.events import EventReader, EventWriter
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import certificate
from ftwizard.train import resume_check
from ftwizard.train.rank_group import RankGroup
from ftwizard.train.resume_check import ResumeCheck

WEIGHTS = {"lora_A": torch.ones(2, 3), "lora_B": torch.zeros(3, 2)}


class Pair(RankGroup):
    """The first of two processes, of which the other has ``hashes``."""

    def __init__(self, hashes: Any = None) -> None:
        super().__init__(0, 2)
        self.hashes = hashes

    def gather(self, value: Any) -> list[Any]:
        return [value, self.hashes or value]


def check(
    root: Path, group: RankGroup, first_loss: float, *files: str, trainer: Any = None
) -> JobFolder:
    """Resume from a checkpoint of step 4 with these further files, and log a first loss."""
    checkpoint = root / "checkpoint-4"
    checkpoint.mkdir()
    save_file(WEIGHTS, checkpoint / "adapter_model.safetensors")
    for name in files:
        (checkpoint / name).touch()
    folder = JobFolder(root)
    events = EventWriter(folder.events, 2)
    worker: Any = SimpleNamespace(folder=folder, attempt=2, events=events)
    history = [{"step": step, "loss": 2.0 + step / 100} for step in range(1, 5)]
    state = TrainerState(global_step=4, log_history=history)
    callback, args = ResumeCheck(worker, checkpoint, group), SimpleNamespace()
    callback.attach(trainer)
    callback.on_train_begin(args, state, TrainerControl())
    callback.on_log(args, state, TrainerControl(), logs={"loss": first_loss})
    callback.on_log(args, state, TrainerControl(), logs={"loss": 99.0})
    events.close()
    return folder


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Return the weights that this process has, in the precision of the model."""
    weights = {name: tensor.clone().bfloat16() for name, tensor in WEIGHTS.items()}
    hash_tensors = resume_check._hash_tensors
    monkeypatch.setattr(resume_check, "_hash_adapter", lambda _: hash_tensors(weights))
    return weights


def read_findings(folder: JobFolder) -> dict[str, str]:
    return {e["code"]: e["message"] for e in EventReader(folder.events).read()}


def test_certificate_records_what_continues(tmp_path: Path, loaded: dict[str, Any]) -> None:
    files = ("optimizer.pt", "scheduler.pt", "rng_state_0.pth", "rng_state_1.pth")
    folder = check(tmp_path, Pair(), 2.03, *files)
    record = certificate.read(folder, 2)
    assert record
    assert (record.step, record.ranks, record.ranks_before) == (4, 2, 2)
    assert record.adapter == resume_check._hash_tensors(WEIGHTS)
    assert record.restored == ("weights", "optimizer", "learning rate", "random state")
    assert record.not_restored == {}
    assert record.loss_before == pytest.approx(2.025)
    assert record.loss_first == 2.03
    assert read_findings(folder) == {}


def test_what_is_not_restored_is_reported(tmp_path: Path, loaded: dict[str, Any]) -> None:
    folder = check(tmp_path, Pair(), 4.2, "rng_state.pth")
    record = certificate.read(folder, 2)
    assert record and list(record.not_restored) == ["optimizer", "random state"]
    findings = read_findings(folder)
    assert "saved by 1, now 2 processes" in findings["not_restored"]
    assert findings["resumed_loss"].startswith("The first loss after resuming is 4.2, but")


@pytest.mark.parametrize(("iterations", "kept"), [(1, True), (2, True), (3, False)])
def test_answers_that_further_steps_were_to_train_on_are_named(
    tmp_path: Path, loaded: dict[str, Any], iterations: int, kept: bool
) -> None:
    files = ("optimizer.pt", "scheduler.pt", "rng_state_0.pth", "rng_state_1.pth")
    trainer = SimpleNamespace(num_iterations=iterations)
    record = certificate.read(check(tmp_path, Pair(), 2.03, *files, trainer=trainer), 2)
    assert record and list(record.not_restored) == ([] if kept else ["answers"])


@pytest.mark.parametrize("where", ["here", "there"])
def test_other_weights_end_the_run(tmp_path: Path, loaded: dict[str, Any], where: str) -> None:
    group, rank = Pair(), 0
    if where == "here":
        loaded["lora_A"][0, 0] = 2
    else:
        group, rank = Pair(("other", "other")), 1
    with pytest.raises(FtwizardError, match=rf"Rank {rank} did not load"):
        check(tmp_path, group, 2.0)
