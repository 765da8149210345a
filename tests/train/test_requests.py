"""Evaluation requests, handled at the end of a step."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState

from ftwizard.jobs import requests
from ftwizard.jobs.events import EventReader, EventWriter
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.pace import PaceWriter, read_pace
from ftwizard.jobs.worker import Stopped
from ftwizard.train.callbacks import RunControl


def step(folder: JobFolder, strategy: str, *, attempt: int = 1) -> TrainerControl:
    """End a step; return the control that the trainer gets."""
    events = EventWriter(folder.events, attempt)
    worker: Any = SimpleNamespace(
        folder=folder, attempt=attempt, events=events, stop_asked=lambda: False
    )
    args: Any = SimpleNamespace(eval_strategy=strategy)
    state = TrainerState(global_step=7, max_steps=20)
    control = RunControl(worker).on_step_end(args, state, TrainerControl())
    events.close()
    return control


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    (tmp_path / "requests").mkdir()
    return JobFolder(tmp_path)


def findings(folder: JobFolder) -> list[dict[str, Any]]:
    return [event for event in EventReader(folder.events).read() if event["kind"] == "finding"]


def test_requested_evaluation_runs_once(folder: JobFolder) -> None:
    requests.send(folder, "evaluate", 1)
    assert step(folder, "steps").should_evaluate
    assert not findings(folder) and not requests.read_pending(folder, "evaluate", 1)
    assert not step(folder, "steps").should_evaluate, "once"


def test_request_without_validation_data_gets_a_finding(folder: JobFolder) -> None:
    requests.send(folder, "evaluate", 1)
    assert not step(folder, "no").should_evaluate
    (finding,) = findings(folder)
    assert (finding["code"], finding["severity"], finding["step"]) == (
        "nothing_to_evaluate",
        "info",
        7,
    )
    assert "no validation data" in finding["message"]
    step(folder, "no")
    assert len(findings(folder)) == 1, "once per request"


def test_request_to_an_earlier_attempt_is_ignored(folder: JobFolder) -> None:
    requests.send(folder, "evaluate", 1)
    assert not step(folder, "no", attempt=2).should_evaluate
    assert not findings(folder)


def test_stop_interrupts_an_evaluation_and_saves(folder: JobFolder) -> None:
    events, control = EventWriter(folder.events, 1), TrainerControl(should_evaluate=True)
    worker: Any = SimpleNamespace(events=events, saves_itself=True)

    def compute() -> None:
        assert not worker.saves_itself and events.newest["phase"] == "evaluating"
        raise Stopped

    trainer: Any = SimpleNamespace(evaluation_loop=compute, control=control)
    trainer.evaluate = lambda: trainer.evaluation_loop()
    run_control = RunControl(worker)
    run_control.attach(trainer)
    assert trainer.evaluate() == {}
    assert worker.saves_itself and control.should_save and control.should_training_stop
    assert not control.should_evaluate, "it would begin again"
    assert run_control.end_reason == "stopped"
    events.close()


def test_stop_may_last_as_long_as_an_evaluation_that_was_never_made(folder: JobFolder) -> None:
    """Several processes see a stop during the first one after it, and must not be killed before."""
    worker: Any = SimpleNamespace(
        folder=folder, attempt=1, pace=PaceWriter(folder, 1), stop_asked=lambda: False
    )
    args: Any = SimpleNamespace(
        eval_strategy="steps", per_device_eval_batch_size=1, gradient_accumulation_steps=1
    )
    control = RunControl(worker, ranks=2)
    control.attach(SimpleNamespace(eval_dataset=range(10_000)))
    state = TrainerState(global_step=7, max_steps=20)
    control.on_step_begin(args, state, TrainerControl())
    time.sleep(0.02)
    control.on_step_end(args, state, TrainerControl())
    assert read_pace(folder, 1).stop_s >= 100, "5,000 batches of at least 0.01 s each, twice"
