"""Requests that the first process reads, in all processes that train together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch.distributed
from transformers import (
    DefaultFlowCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import CallbackHandler

from ftwizard.jobs import requests
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.pace import PaceWriter
from ftwizard.train.callbacks import RunControl
from ftwizard.train.rank_control import SharedControl
from ftwizard.train.rank_group import RankGroup

STEPS = 8
SAVE_AT, STOP_AT = 3, 6
TIMEOUT = timedelta(seconds=60)
"""After which a process that waits for a decision fails, where none is made."""


class Differing(TrainerCallback):
    """Decides what the first process does not: a stop at the first step, no save at any."""

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **values: Any
    ) -> TrainerControl:
        control.should_training_stop, control.should_save = True, False
        return control


def run_steps(
    group: RankGroup, callback: TrainerCallback, folder: JobFolder, args: TrainingArguments
) -> dict[int, list[bool]]:
    """Step as the trainer does until it must stop; return after which steps it saves and stops.

    The first process's user sends the requests, at moments that only its files show.
    """
    callbacks = [DefaultFlowCallback(), callback, SharedControl(group)]
    handler: Any = CallbackHandler(callbacks, None, None, None, None)  # type: ignore[no-untyped-call]
    state, control = TrainerState(max_steps=100), TrainerControl()
    decisions: dict[int, list[bool]] = {}
    control = handler.on_train_begin(args, state, control)
    while state.global_step < STEPS and not control.should_training_stop:
        control = handler.on_step_begin(args, state, control)
        state.global_step += 1
        if group.is_first and state.global_step in (SAVE_AT, STOP_AT):
            requests.send(folder, "save" if state.global_step == SAVE_AT else "stop", 1)
        control = handler.on_step_end(args, state, control)
        decisions[state.global_step] = [control.should_save, control.should_training_stop]
    return decisions


def test_requests_reach_all_processes_at_the_same_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ranks of a real gloo group, as threads: only their lookup by process is replaced."""

    def broadcast(tensor: torch.Tensor, src: int, group: Any) -> None:
        group.broadcast(tensor, src).wait()

    monkeypatch.setattr(torch.distributed, "broadcast", broadcast)
    folder = JobFolder(tmp_path)
    folder.requests.mkdir()
    worker: Any = SimpleNamespace(
        folder=folder,
        attempt=1,
        pace=PaceWriter(folder, 1),
        stop_asked=lambda: requests.read_pending(folder, "stop", 1),
    )
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]
    args = TrainingArguments(
        str(tmp_path), use_cpu=True, logging_strategy="no", save_strategy="no", report_to=[]
    )

    def train(rank: int) -> dict[int, list[bool]]:
        group = RankGroup(rank, 2)
        group._decisions = torch.distributed.ProcessGroupGloo(store, rank, 2, TIMEOUT)
        return run_steps(group, Differing() if rank else RunControl(worker), folder, args)

    with ThreadPoolExecutor(2) as pool:
        first, other = pool.map(train, range(2))
    expected = {step: [step in (SAVE_AT, STOP_AT), step == STOP_AT] for step in range(1, 7)}
    assert first == expected
    assert other == expected
