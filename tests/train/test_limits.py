"""Real trainings with ``recipe.max_steps``, ``data.max_rows`` and ``budget.minutes``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import TrainerControl, TrainerState

from ftwizard.estimate import training_setup
from ftwizard.jobs import launch
from ftwizard.jobs.clock import Instant
from ftwizard.jobs.events import EventReader, EventWriter
from ftwizard.jobs.folder import Attempt, JobFolder, JobRecord, write_json
from ftwizard.plan.schema import Budget, Data, Files, Finish, Model, Plan, Recipe
from ftwizard.runs import checkpoints, describe
from ftwizard.runs.progress import Progress
from ftwizard.runs.result import read_trained
from ftwizard.text import format_duration
from ftwizard.train import budget
from ftwizard.train.budget import Limit
from ftwizard.train.callbacks import RunControl
from tests.helpers import training
from tests.helpers.jobs import events


def test_run_on_max_rows_and_max_steps_says_so(tmp_path: Path) -> None:
    folder = training.train(
        tmp_path, "few", training=40, validation=60, max_steps=5, epochs=2, warmup=0.0,
        more={"data": {"max_rows": 12}},
    )  # fmt: skip
    trained = read_trained(folder)
    assert trained and trained.reason == "finished"
    assert trained.last_step == trained.total_steps == 5
    steps = events(folder, "log")
    assert [event["step"] for event in steps] == [1, 2, 3, 4, 5]
    assert steps[-1]["epoch"] == pytest.approx(5 / 6, abs=0.01)
    rates = [event["learning_rate"] for event in steps]
    assert rates == sorted(rates, reverse=True) and rates[-1] == pytest.approx(5e-3 / 5)
    assert events(folder, "eval")[-1]["step"] == 5

    counts = trained.rows
    assert counts["train_available"] == 40
    assert counts["train_given"] == counts["train_used"] == 12
    assert counts["validation_available"] == 60 and counts["validation_used"] == 32
    described = describe.describe_trained_rows(trained)
    assert described.startswith("12 of 40 rows trained on (data.max_rows); besides, ")
    (finding,) = [e for e in events(folder, "finding") if e["code"] == "rows_sampled"]
    assert "12 of 40 training rows" in finding["message"]
    assert "32 of 60 validation rows" in finding["message"]
    report = next(e for e in events(folder, "data") if e["part"] == "train")
    assert report["available"] == 40 and report["rows"] == 12


@given(st.integers(1, 3000), st.integers(1, 9), st.integers(1, 5), st.floats(0.1, 9),
       st.integers(1, 2000))  # fmt: skip
def test_max_steps_only_ever_shorten_a_training(
    rows: int, batch: int, accumulation: int, epochs: float, most: int
) -> None:
    recipe = Recipe(batch_size=batch, gradient_accumulation=accumulation, epochs=epochs)
    whole = training_setup.count_steps(rows, recipe)
    assert whole.epochs == epochs
    capped = training_setup.count_steps(rows, msgspec.structs.replace(recipe, max_steps=most))
    assert capped.total == min(most, whole.total) and capped.per_epoch == whole.per_epoch
    assert capped.epochs == pytest.approx(
        epochs if most >= whole.total else min(epochs, most / whole.per_epoch)
    )


@pytest.mark.slow
def test_minutes_end_the_training_early_with_results_in_time(tmp_path: Path) -> None:
    minutes = 40 / 60
    began = time.monotonic()
    folder = training.train(
        tmp_path, "capped", training=600, validation=6, epochs=12, evaluation_steps=40, patience=99,
        more={"budget": {"minutes": minutes}, "finish": {"merge": True, "compare": True},
              "data": {"split": {"test": 0.1}}},
    )  # fmt: skip
    assert time.monotonic() - began < 60 * minutes + 16  # imports, on a busy machine
    trained = read_trained(folder)
    assert trained and trained.reason == "early_stopped"
    assert 0 < trained.last_step < trained.total_steps
    assert "budget.minutes" in trained.message and "best weights are kept" in trained.message
    assert events(folder, "eval")[-1]["step"] == trained.last_step
    best = checkpoints.find_best(checkpoints.all_complete(folder.checkpoints))
    assert best and trained.step == best.step and folder.adapter.is_dir()
    assert folder.merged.is_dir()
    codes = [event["code"] for event in events(folder, "finding")]
    assert folder.evaluation.exists() != ("comparison_skipped" in codes)


def test_time_limit_is_the_reason_shown_and_not_the_validation_loss(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    message = "Training ended early, to finish within 10 min (budget.minutes)."
    status: Any = SimpleNamespace(end_reason="early_stopped", message=message, hint="")
    assert describe.describe_next_step(folder, status) == [message]
    without: Any = SimpleNamespace(end_reason="early_stopped", message="", hint="")
    assert "Validation loss" in describe.describe_next_step(folder, without)[0]


@pytest.fixture
def now() -> list[float]:
    """Return the clock of ``control``, in seconds."""
    return [0.0]


@pytest.fixture
def control(tmp_path: Path, now: list[float]) -> Iterator[RunControl]:
    """Yield the control of a run of 600 s, of which 120 s are for what follows the training."""
    (tmp_path / "requests").mkdir()
    folder = JobFolder(tmp_path)
    writer = EventWriter(folder.events, 1)
    worker: Any = SimpleNamespace(folder=folder, attempt=1, events=writer, stop_asked=lambda: False)
    limit = Limit("budget.minutes", 600, 0.0, 0.0, format_duration, now=lambda: now[0], kept_s=120)
    yield RunControl(worker, [limit])


def test_time_for_the_last_evaluation_and_the_rest_is_kept_free(
    control: RunControl, now: list[float], tmp_path: Path
) -> None:
    args: Any = SimpleNamespace(eval_strategy="steps")
    state = TrainerState(global_step=7, max_steps=99)
    control.on_evaluate(args, state, TrainerControl(), metrics={"eval_runtime": 60.0})

    def step(at: float, *, evaluates: bool = False) -> TrainerControl:
        now[0] = at
        flags = TrainerControl(should_evaluate=evaluates)
        return control.on_step_end(args, state, flags)

    # 600 s, of which 120 s for the rest, and 60 s with up to 30 s of samples for the evaluation
    assert not step(300).should_training_stop
    assert not EventReader(JobFolder(tmp_path).events).read()
    assert not step(380).should_training_stop
    (warning,) = EventReader(JobFolder(tmp_path).events).read()
    assert "Training ends after 6 min 30 s of 10 min (budget.minutes) at" in warning["message"]
    flags = step(390)
    assert flags.should_training_stop and flags.should_save and flags.should_evaluate
    assert control.end_reason == "early_stopped"
    # A scheduled evaluation leaves too little time for another.
    assert step(310, evaluates=True).should_training_stop
    assert not step(290, evaluates=True).should_training_stop


def test_evaluation_that_takes_too_long_for_the_limit_is_left_out(
    control: RunControl, now: list[float]
) -> None:
    args: Any = SimpleNamespace(eval_strategy="steps")
    state = TrainerState(global_step=7, max_steps=99)
    control.on_evaluate(args, state, TrainerControl(), metrics={"eval_runtime": 400.0})

    now[0] = 100
    flags = control.on_step_end(args, state, TrainerControl(should_evaluate=True))
    assert not flags.should_training_stop and not flags.should_evaluate
    now[0] = 481
    flags = control.on_step_end(args, state, TrainerControl(should_evaluate=True))
    assert flags.should_training_stop and flags.should_save and not flags.should_evaluate


def test_last_step_is_never_ended_early(control: RunControl, now: list[float]) -> None:
    now[0] = 599
    args: Any = SimpleNamespace(eval_strategy="no", gradient_accumulation_steps=1)
    control.on_step_end(args, TrainerState(global_step=99, max_steps=99), TrainerControl())
    assert control.end_reason is None


def test_download_of_the_model_does_not_count_toward_the_minutes() -> None:
    progress = Progress()

    def feed(t: float, phase: str, attempt: int = 1) -> None:
        progress.feed([{"kind": "phase", "phase": phase, "t": t, "attempt": attempt}])

    feed(1000, "reading")
    feed(1010, "fetching")
    feed(1200, "fetching")
    assert progress.limited_s(Instant(1300)) == 10
    feed(1310, "loading")
    assert progress.limited_s(Instant(1330)) == 30
    assert progress.limited_s(None) == 10
    feed(5000, "reading", 2)
    assert progress.limited_s(Instant(5004)) == 4


def test_comparison_and_merge_get_their_share_of_the_minutes(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"0" * 1000)

    def keep(**parts: Any) -> float:
        plan = Plan(data=Data(files=Files(train="a")), model=Model(name="m"),
                    budget=Budget(minutes=10), **parts)  # fmt: skip
        (limit,) = budget.limits(worker, plan, tmp_path)
        assert limit.finishes and limit.kept_s is not None
        return limit.kept_s

    record = JobRecord(kind="train", argv=[], version="0", created=0)
    folder = launch.create(tmp_path / "run", record, {})
    write_json(folder.attempt(1), Attempt(number=1, started=0, host="", argv=[]))
    worker: Any = SimpleNamespace(folder=folder)
    assert keep(finish=Finish(merge=False, compare=False)) == 0
    assert keep(finish=Finish(merge=False)) == 60, "half of it is for the base model, before"
    assert 60 < keep() < 61
    full = keep(recipe=Recipe(method="full"), finish=Finish(merge=False, compare=False))
    assert full > keep(finish=Finish(compare=False)) > 0
