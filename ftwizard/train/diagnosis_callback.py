"""Live diagnosis of a run while it trains."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ftwizard.diagnosis import Curve, DiagnosisFinding, Point, Verdict, diagnose, to_findings
from ftwizard.jobs.worker import Worker
from ftwizard.runs import checkpoints, loss_curves
from ftwizard.train.callbacks import validates, vocabulary

MIN_LOGS = 10
GROWTH_FACTOR = 1.05
"""Between evaluations, diagnose again when the log has grown by this factor, which keeps the cost
proportional to the run."""


class DiagnosisCallback(TrainerCallback):
    """Writes a finding whenever the verdict on the run's curve changes or adds a warning.

    A new warning is reported at once. A healthy verdict, or one reported before, must hold for two
    diagnoses in a row, so that noise does not toggle it.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._vocabulary: int | None = None
        self._points = _Points()
        self._reported: set[str] = set()
        self._verdict: str | None = None
        self._previous: str | None = None
        self._next = MIN_LOGS
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
            self._diagnose(args, state)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._diagnose(args, state)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self.last is not None:
            self._report(state, self.last, is_last=True)

    def _diagnose(self, args: TrainingArguments, state: TrainerState) -> None:
        self._next = max(self._next + 1, int(len(state.log_history) * GROWTH_FACTOR) + 1)
        try:
            verdict = diagnose(self._curve(args, state))
        except Exception as error:  # noqa: BLE001 (a failed diagnosis must not end the run)
            self._report_failure(error)
            return
        self._report(state, verdict, is_last=False)
        self.last, self._previous = verdict, verdict.pattern

    def _report_failure(self, error: Exception) -> None:
        if "diagnosis_failed" in self._reported:
            return
        self._reported.add("diagnosis_failed")
        traceback.print_exception(error, file=sys.stderr)
        self._worker.events.write(
            "finding",
            code="diagnosis_failed",
            severity="info",
            message=f"Diagnosis failed: {type(error).__name__}: {error}"[:500],
        )

    def _report(self, state: TrainerState, verdict: Verdict, *, is_last: bool) -> None:
        main, *others = to_findings(verdict)
        is_new = main.severity != "info" and main.code not in self._reported
        is_stable = is_new or is_last or verdict.pattern == self._previous
        if verdict.pattern != self._verdict and (is_stable or self._verdict is None):
            self._verdict = verdict.pattern
            self._write(state, verdict, main, is_verdict=True)
        for finding in (main, *others):
            if finding.code not in self._reported and finding.severity != "info":
                self._write(state, verdict, finding, is_verdict=False)

    def _write(
        self, state: TrainerState, verdict: Verdict, finding: DiagnosisFinding, *, is_verdict: bool
    ) -> None:
        self._reported.add(finding.code)
        self._worker.events.write(
            "finding",
            code=finding.code,
            severity=finding.severity,
            step=state.global_step,
            since=finding.step,
            message=finding.message,
            action=finding.action,
            actions=list(finding.actions),
            confidence=finding.confidence,
            evidence=finding.evidence,
            best_step=verdict.best_step,
            best_on_disk=verdict.best_on_disk,
            verdict=is_verdict,
        )

    def _curve(self, args: TrainingArguments, state: TrainerState) -> Curve:
        saved = checkpoints.all_complete(Path(str(args.output_dir)))
        points = self._points
        points.read(state.log_history)
        return Curve(
            train=points.train,
            evals=points.evals,
            learning_rate=points.learning_rate,
            grad_norm=points.grad_norm,
            scores=points.scores,
            total_steps=state.max_steps,
            steps_per_epoch=points.steps_per_epoch,
            warmup_steps=args.get_warmup_steps(state.max_steps),
            vocabulary=self._vocabulary,
            accumulation=args.gradient_accumulation_steps,
            validates=validates(args),
            # Each evaluation is followed by a save.
            checkpoints=sorted({marker.step for marker in saved} | {state.global_step}),
        )


class _Points:
    """The points of a growing log history, each of whose rows is read once."""

    def __init__(self) -> None:
        self.train: list[Point] = []
        self.evals: list[Point] = []
        self.learning_rate: list[Point] = []
        self.grad_norm: list[Point] = []
        self.scores: dict[str, list[Point]] = {}
        self.steps_per_epoch: float | None = None
        self._rows = 0

    def read(self, history: list[dict[str, float]]) -> None:
        new = loss_curves.from_rows(history[self._rows :])
        self._rows = len(history)
        self.train += new.train
        self.evals += new.evals
        self.learning_rate += new.learning_rate
        self.grad_norm += new.grad_norm
        for name, points in new.scores.items():
            self.scores.setdefault(name, []).extend(points)
        self.steps_per_epoch = new.steps_per_epoch or self.steps_per_epoch
