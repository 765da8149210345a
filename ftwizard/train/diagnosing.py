"""The diagnosis of a run while it trains: findings that a person needs not be there to get."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ftwizard import checkpoints, curves
from ftwizard.diagnosis import Curve, Finding, Point, Verdict, diagnose, findings
from ftwizard.jobs.worker import Worker
from ftwizard.train.callbacks import validates, vocabulary

FIRST_LOGS = 10
GROWTH = 1.05
"""Between evaluations it looks again when the logs have grown so much: its cost stays in proportion."""


class Diagnosing(TrainerCallback):
    """Writes a finding whenever the verdict on the run's curve changes, or shows one thing more.

    A warning is said at once, the first time. A verdict that all is well, or one that was said
    before, has to hold for two looks: at a boundary it would come and go with the noise.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._vocabulary: int | None = None
        self._points = _Points()
        self._said: set[str] = set()
        self._verdict: str | None = None
        self._before: str | None = None
        self._next = FIRST_LOGS
        self.last: Verdict | None = None
        """The newest verdict."""

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **_: Any,
    ) -> None:
        self._vocabulary = vocabulary(model)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if len(state.log_history) >= self._next:
            self._look(args, state)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._look(args, state)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self.last is not None:
            self._say(state, self.last, is_last=True)

    def _look(self, args: TrainingArguments, state: TrainerState) -> None:
        self._next = max(self._next + 1, int(len(state.log_history) * GROWTH) + 1)
        try:
            verdict = diagnose(self._curve(args, state))
        except Exception as error:  # noqa: BLE001 (no advice is worth a run)
            self._failed(error)
            return
        self._say(state, verdict, is_last=False)
        self.last, self._before = verdict, verdict.pattern

    def _failed(self, error: Exception) -> None:
        if "diagnosis_failed" in self._said:
            return
        self._said.add("diagnosis_failed")
        traceback.print_exception(error, file=sys.stderr)
        self._worker.events.write(
            "finding",
            code="diagnosis_failed",
            severity="info",
            message=f"The curve could not be judged: {type(error).__name__}: {error}"[:500],
        )

    def _say(self, state: TrainerState, verdict: Verdict, *, is_last: bool) -> None:
        found = findings(verdict)
        is_new = found[0].severity != "info" and found[0].code not in self._said
        holds = is_new or is_last or verdict.pattern == self._before
        if verdict.pattern != self._verdict and (holds or self._verdict is None):
            self._verdict = verdict.pattern
            self._write(state, verdict, found[0], is_verdict=True)
        for one in found:
            if one.code not in self._said and one.severity != "info":
                self._write(state, verdict, one, is_verdict=False)

    def _write(
        self, state: TrainerState, verdict: Verdict, finding: Finding, *, is_verdict: bool
    ) -> None:
        self._said.add(finding.code)
        self._worker.events.write(
            "finding",
            code=finding.code,
            severity=finding.severity,
            step=state.global_step,
            since=finding.step,
            message=finding.message,
            action=finding.action,
            actions=list(finding.actions),
            confidence=round(finding.confidence, 3),
            evidence=finding.evidence,
            best_step=verdict.best_step,
            best_on_disk=verdict.best_on_disk,
            verdict=is_verdict,
        )

    def _curve(self, args: TrainingArguments, state: TrainerState) -> Curve:
        kept = {one.step for one in checkpoints.all_complete(Path(str(args.output_dir)))}
        known = self._points
        known.read(state.log_history)
        return Curve(
            train=known.train,
            evals=known.evals,
            learning_rate=known.learning_rate,
            grad_norm=known.grad_norm,
            scores=known.scores,
            total_steps=state.max_steps,
            steps_per_epoch=known.steps_per_epoch,
            warmup_steps=args.get_warmup_steps(state.max_steps),
            vocabulary=self._vocabulary,
            accumulation=args.gradient_accumulation_steps,
            validates=validates(args),
            # Every evaluation is saved at once after it.
            checkpoints=sorted(kept | {state.global_step}),
        )


class _Points:
    """The points of a history that only grows: each of its rows is read once."""

    def __init__(self) -> None:
        self.train: list[Point] = []
        self.evals: list[Point] = []
        self.learning_rate: list[Point] = []
        self.grad_norm: list[Point] = []
        self.scores: dict[str, list[Point]] = {}
        self.steps_per_epoch: float | None = None
        self._rows = 0

    def read(self, history: list[dict[str, float]]) -> None:
        new = curves.of_rows(history[self._rows :])
        self._rows = len(history)
        self.train += new.train
        self.evals += new.evals
        self.learning_rate += new.learning_rate
        self.grad_norm += new.grad_norm
        for name, points in new.scores.items():
            self.scores.setdefault(name, []).extend(points)
        self.steps_per_epoch = new.steps_per_epoch or self.steps_per_epoch
