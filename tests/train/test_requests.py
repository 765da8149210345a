"""What viewers ask of a training is obeyed at the end of a step, or answered."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState

from ftwizard.jobs import requests
from ftwizard.jobs.events import EventReader, EventWriter
from ftwizard.jobs.folder import JobFolder
from ftwizard.train.callbacks import RunControl


def step(folder: JobFolder, strategy: str, *, attempt: int = 1) -> TrainerControl:
    """Let a step end; return what the trainer is told to do next."""
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


def test_an_evaluation_is_done_when_asked_for(folder: JobFolder) -> None:
    requests.send(folder, "evaluate", 1)
    assert step(folder, "steps").should_evaluate
    assert not findings(folder) and not requests.read_pending(folder, "evaluate", 1)
    assert not step(folder, "steps").should_evaluate, "once"


def test_without_validation_data_it_is_said(folder: JobFolder) -> None:
    requests.send(folder, "evaluate", 1)
    assert not step(folder, "no").should_evaluate
    (text,) = findings(folder)
    assert (text["code"], text["severity"], text["step"]) == ("nothing_to_evaluate", "info", 7)
    assert "no validation data" in text["message"]
    step(folder, "no")
    assert len(findings(folder)) == 1, "once for each time that it is asked for"


def test_nothing_is_said_of_what_nobody_asked(folder: JobFolder) -> None:
    requests.send(folder, "evaluate", 1)
    assert not step(folder, "no", attempt=2).should_evaluate
    assert not findings(folder)
