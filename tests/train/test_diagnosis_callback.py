"""Findings of the live diagnosis, with a fake trainer."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState

from ftwizard.diagnosis import Curve, diagnose
from ftwizard.jobs.events import EventReader, EventWriter
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import diagnosis_writer, loss_curves
from ftwizard.runs.summary import read_progress
from ftwizard.train import diagnosis_callback
from ftwizard.train.diagnosis_callback import DiagnosisCallback
from tests.helpers import curves
from tests.helpers.objective_curves import KINDS, list_events
from tests.paths import FIXTURES

TRL_NAMES = re.compile("(rewards|logps|completions)_")
"""Beginnings of names that TRL separates by a slash."""


class Trainer:
    """Feeds a curve's logs and evaluations to a DiagnosisCallback, as the real trainer does."""

    def __init__(self, folder: JobFolder, attempt: int = 1, history: list[Any] | None = None):
        self.folder, self.attempt = folder, attempt
        self.state = TrainerState(log_history=list(history or []))
        self.diagnoses = 0

    def start(
        self, total: int, *, validates: bool = True, **facts: Any
    ) -> tuple[DiagnosisCallback, Any, TrainerControl]:
        self.writer = EventWriter(self.folder.events, self.attempt)
        worker: Any = SimpleNamespace(events=self.writer, folder=self.folder)
        args: Any = SimpleNamespace(
            output_dir=str(self.folder.checkpoints),
            gradient_accumulation_steps=1,
            eval_strategy="steps" if validates else "no",
            get_warmup_steps=lambda _: 0,
        )
        callback, control = DiagnosisCallback(worker, facts), TrainerControl()
        self.state.max_steps = total
        callback.on_train_begin(args, self.state, control)
        return callback, args, control

    def feed(self, curve: Curve, *, first: int = 1, last: float = math.inf) -> None:
        callback, args, control = self.start(curve.total_steps or 0, validates=bool(curve.evals))
        for step, name, value in points(curve):
            if not first <= step <= last:
                continue
            self.state.global_step = int(step)
            self.state.log_history.append({"step": step, name: value})
            before = callback.last
            if name == "loss":
                callback.on_log(args, self.state, control)
            else:
                callback.on_evaluate(args, self.state, control)
            self.diagnoses += callback.last is not before
        callback.on_train_end(args, self.state, control)
        self.writer.close()

    @property
    def reported(self) -> list[dict[str, Any]]:
        events = EventReader(self.folder.events).read()
        findings = [e for e in events if e["kind"] == "finding" and e["attempt"] == self.attempt]
        return [event for event in findings if not event.get("update")]

    @property
    def verdicts(self) -> list[str]:
        return [e["code"] for e in self.reported if e["verdict"]]


def points(curve: Curve) -> Iterator[tuple[float, str, float]]:
    """Yield step, name and value in the order in which a trainer reports them."""
    both = [(s, 0, "loss", v) for s, v in curve.train] + [
        (s, 1, "eval_loss", v) for s, v in curve.evals
    ]
    for step, _, name, value in sorted(both):
        yield step, name, value


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(JobFolder(tmp_path))


@pytest.mark.parametrize("seed", range(3))
def test_each_change_of_verdict_is_reported_once(trainer: Trainer, seed: int) -> None:
    trainer.feed(curves.overfitting(seed))
    assert all(item != other for item, other in pairwise(trainer.verdicts))
    assert trainer.verdicts[-1] == "overfit" and len(trainer.verdicts) <= 6, trainer.verdicts
    (finding,) = [e for e in trainer.reported if e["code"] == "overfit"]
    assert finding["severity"] == "warning" and "stop_keep_best" in finding["actions"]
    assert 200 <= finding["best_step"] <= 300 < finding["step"] < 600


def test_standing_verdict_is_updated_at_each_evaluation(trainer: Trainer) -> None:
    curve = curves.healthy(1)
    last_step, last_loss = curve.evals[-1]
    trainer.feed(curve)
    findings = read_progress(trainer.folder).findings
    assert [event["code"] for event in findings if event["verdict"]] == trainer.verdicts
    assert f"→ {last_loss:.4g}. " in findings[-1]["message"], findings[-1]
    assert findings[-1]["step"] < last_step, "when it was first reported"


def test_rows_of_an_evaluation_count_at_that_evaluation(trainer: Trainer) -> None:
    recorded = json.loads((FIXTURES / "runs" / "alpaca-overfit.json").read_text())
    callback, args, control = trainer.start(recorded["total_steps"], rows_per_step=2.0)
    for row in recorded["history"]:
        logged = {name: row[name] for name in ("step", "loss", "eval_loss") if name in row}
        trainer.state.global_step = row["step"]
        trainer.state.log_history.append(logged)
        callback.on_log(args, trainer.state, control, logs=dict(logged))
        if "eval_loss" in row:
            logged.update(row)
            callback.on_evaluate(args, trainer.state, control)
    (finding,) = [event for event in trainer.reported if event["code"] == "overfit"]
    assert finding["step"] == 42, "the second evaluation after the best"
    assert "8 rows show +0.24 to +0.66" in finding["message"]


def test_last_verdict_matches_the_whole_curve(trainer: Trainer) -> None:
    for kind in (curves.healthy, curves.flattening, curves.running_away, curves.one_spike):
        item = Trainer(JobFolder(trainer.folder.path / kind.__name__))
        item.folder.path.mkdir()
        item.feed(kind(1))
        whole = diagnose(loss_curves.from_rows(item.state.log_history, item.state.max_steps))
        assert item.verdicts[-1] == whole.pattern, kind


def test_each_warning_is_reported_once(trainer: Trainer) -> None:
    trainer.feed(curves.running_away(2))
    warnings = [e["code"] for e in trainer.reported if e["severity"] != "info" and not e["verdict"]]
    assert len(set(warnings)) == len(warnings)
    assert "diverged" in [e["code"] for e in trainer.reported]


def test_alternating_verdicts_are_not_reported_each_time(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the boundary of two patterns, noise decides between them."""
    real = {
        "healthy": diagnose(curves.healthy(1)),
        "plateau": diagnose(curves.flattening(1)),
    }
    assert {name: item.pattern for name, item in real.items()} == {n: n for n in real}
    calls = 0

    def alternate(_: Curve) -> Any:
        nonlocal calls
        calls += 1
        return real["healthy" if calls % 2 else "plateau"]

    monkeypatch.setattr(diagnosis_callback, "diagnose", alternate)
    trainer.feed(curves.flattening(1))
    assert calls > 40
    assert len(trainer.verdicts) <= 3, trainer.verdicts


def test_diagnosis_between_evaluations_waits_for_more_logs(trainer: Trainer) -> None:
    def flat(_: float) -> float:
        return 1.0

    curve = curves.drawn(flat, None, steps=20_000, every=5)
    assert len(curve.train) == 4000
    trainer.feed(curve)
    most = math.log(4000 / diagnosis_writer.MIN_LOGS, diagnosis_writer.GROWTH_FACTOR)
    assert 10 < trainer.diagnoses <= most + 20, (trainer.diagnoses, most)


def test_every_evaluation_is_diagnosed(trainer: Trainer) -> None:
    trainer.feed(curves.healthy(1))
    assert trainer.diagnoses >= len(curves.healthy(1).evals)


def test_resumed_run_repeats_a_current_verdict_without_duplicates(trainer: Trainer) -> None:
    curve = curves.overfitting(1)
    trainer.feed(curve, last=500)
    assert trainer.verdicts[-1] == "overfit"
    again = Trainer(trainer.folder, 2, trainer.state.log_history)
    again.feed(curve, first=501, last=505)
    assert again.verdicts == ["overfit"], "at the first diagnosis of the new attempt"
    recorded = read_progress(trainer.folder).findings
    codes = [e["code"] for e in recorded]
    assert codes.count("overfit") == 1 and len(set(codes)) == len(codes), codes


def test_resumed_run_drops_an_outdated_verdict(trainer: Trainer) -> None:
    curve = curves.overfitting(1)
    trainer.feed(curve, last=500)
    # The newest checkpoint is from before the rise; from there, the curve is a different one.
    kept = [row for row in trainer.state.log_history if row["step"] <= 150]
    again = Trainer(trainer.folder, 2, kept)
    again.feed(curves.healthy(1), first=151, last=200)
    assert "overfit" not in [e["code"] for e in read_progress(trainer.folder).findings]


def test_failed_diagnosis_is_reported_once_and_training_continues(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(curve: Curve) -> None:
        raise ZeroDivisionError("made up")

    monkeypatch.setattr(diagnosis_callback, "diagnose", fail)
    folder = JobFolder(home / "runs" / "one")
    folder.path.mkdir(parents=True)
    trainer = Trainer(folder)
    trainer.feed(curves.healthy(1))
    (finding,) = trainer.reported
    assert finding["code"] == "diagnosis_failed" and "made up" in finding["message"]


@pytest.mark.parametrize("kind", ["dpo: displaced", "kto: KL explodes", "grpo: never succeeds"])
def test_objective_is_diagnosed_live_by_the_names_that_trl_logs(
    trainer: Trainer, kind: str
) -> None:
    curve = KINDS[kind].draw(1)
    callback, args, control = trainer.start(curve.total_steps or 0, objective=curve.objective)
    for event in list_events(curve):
        if event["kind"] == "phase":
            continue
        logged = {
            TRL_NAMES.sub(r"\1/", name): value
            for name, value in event.items()
            if name not in ("kind", "epoch", "tokens")
        }
        trainer.state.global_step = event["step"]
        trainer.state.log_history.append(logged)
        callback.on_log(args, trainer.state, control, logs=logged)
        if event["kind"] == "eval":
            callback.on_evaluate(args, trainer.state, control)
    callback.on_train_end(args, trainer.state, control)
    assert callback.last is not None and callback.last.pattern == KINDS[kind].label
    assert KINDS[kind].label in [event["code"] for event in trainer.reported]
    assert "rewards/margins" in logged or "completions/mean_length" in logged


def test_evaluation_of_rewards_is_diagnosed_once(trainer: Trainer) -> None:
    """An evaluation of GRPO logs no loss."""
    callback, args, control = trainer.start(120, objective="grpo")
    trainer.state.log_history = [{"step": step, "reward": 0.5} for step in range(1, 40)]
    logged = {"step": 40, "eval_reward": 0.5}
    trainer.state.log_history.append(logged)
    callback.on_log(args, trainer.state, control, logs=logged)
    assert callback.last is None
    callback.on_evaluate(args, trainer.state, control)
    assert callback.last is not None
