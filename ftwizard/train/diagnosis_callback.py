"""Live diagnosis of a run while it trains."""

from __future__ import annotations

import dataclasses
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback

from ftwizard.diagnosis import Curve, DiagnosisFinding, Verdict, diagnose, to_findings
from ftwizard.jobs.worker import Worker
from ftwizard.runs import checkpoints, loss_curves
from ftwizard.train.moments import Moment, with_moment

MIN_LOGS = 10
GROWTH_FACTOR = 1.05
"""Between evaluations, diagnose again when the log has grown by this factor, which keeps the cost
proportional to the run."""


class DiagnosisCallback(TrainerCallback):
    """Writes a finding whenever the verdict on the run's curve changes or adds a warning.

    A new warning is reported at once. A healthy verdict, or one reported before, must hold for two
    diagnoses in a row, so that noise does not toggle it. A verdict that stands is updated, so that
    its figures never lag behind the curve.
    """

    def __init__(self, worker: Worker, facts: Mapping[str, Any]) -> None:
        """Set up the callback; ``facts`` are fields of ``Curve``."""
        self._worker = worker
        self._facts = facts
        self._vocabulary: int | None = None
        self._points = Curve(train=())
        self._rows = 0
        self._reported: set[str] = set()
        self._verdict: str | None = None
        self._message = ""
        """The newest message of that verdict."""
        self._previous: str | None = None
        self._next = MIN_LOGS
        self.last: Verdict | None = None
        """The newest verdict."""

    @with_moment
    def on_train_begin(self, moment: Moment) -> None:
        self._vocabulary = moment.vocabulary

    @with_moment
    def on_log(self, moment: Moment) -> None:
        # An evaluation is logged before what its rows prove is known.
        is_evaluation = "eval_loss" in moment.logs
        if len(moment.state.log_history) >= self._next and not is_evaluation:
            self._diagnose(moment)

    @with_moment
    def on_evaluate(self, moment: Moment) -> None:
        self._diagnose(moment)

    @with_moment
    def on_train_end(self, moment: Moment) -> None:
        if self.last is not None:
            self._report(moment.step, self.last, is_last=True)

    def _diagnose(self, moment: Moment) -> None:
        logged = len(moment.state.log_history)
        self._next = max(self._next + 1, int(logged * GROWTH_FACTOR) + 1)
        try:
            verdict = diagnose(self._curve(moment))
        except Exception as error:  # noqa: BLE001 (a failed diagnosis must not end the run)
            self._report_failure(error)
            return
        self._report(moment.step, verdict, is_last=False)
        self.last, self._previous = verdict, verdict.pattern

    def _report_failure(self, error: Exception) -> None:
        if "diagnosis_failed" in self._reported:
            return
        self._reported.add("diagnosis_failed")
        traceback.print_exception(error, file=sys.stderr)
        message = f"Diagnosis failed: {type(error).__name__}: {error}"[:500]
        self._worker.events.write_finding("diagnosis_failed", message)

    def _report(self, step: int, verdict: Verdict, *, is_last: bool) -> None:
        main, *others = to_findings(verdict)
        is_new = main.severity != "info" and main.code not in self._reported
        is_stable = is_new or is_last or verdict.pattern == self._previous
        is_update = verdict.pattern == self._verdict
        if main.message != self._message if is_update else is_stable or self._verdict is None:
            self._verdict, self._message = verdict.pattern, main.message
            self._write(step, verdict, main, is_verdict=True, is_update=is_update)
        for finding in (main, *others):
            if finding.code not in self._reported and finding.severity != "info":
                self._write(step, verdict, finding, is_verdict=False)

    def _write(
        self,
        step: int,
        verdict: Verdict,
        finding: DiagnosisFinding,
        *,
        is_verdict: bool,
        is_update: bool = False,
    ) -> None:
        self._reported.add(finding.code)
        self._worker.events.write_finding(
            finding.code,
            finding.message,
            finding.severity,
            step=step,
            since=finding.step,
            action=finding.action,
            actions=list(finding.actions),
            confidence=finding.confidence,
            evidence=finding.evidence,
            best_step=verdict.best_step,
            best_on_disk=verdict.best_on_disk,
            verdict=is_verdict,
            update=is_update,
        )

    def _curve(self, moment: Moment) -> Curve:
        args, state = moment.args, moment.state
        saved = checkpoints.all_complete(self._worker.folder.checkpoints)
        return dataclasses.replace(
            self._read(state.log_history),
            total_steps=state.max_steps,
            warmup_steps=args.get_warmup_steps(state.max_steps),
            vocabulary=self._vocabulary,
            accumulation=args.gradient_accumulation_steps,
            validates=moment.validates,
            **self._facts,
            # Each evaluation is followed by a save.
            checkpoints=sorted({marker.step for marker in saved} | {moment.step}),
        )

    def _read(self, history: list[dict[str, float]]) -> Curve:
        """Return the curve of a growing log; each row is read once."""
        old, new = self._points, loss_curves.from_rows(history[self._rows :])
        self._rows = len(history)
        self._points = dataclasses.replace(
            new,
            train=[*old.train, *new.train],
            evals=[*old.evals, *new.evals],
            learning_rate=[*old.learning_rate, *new.learning_rate],
            grad_norm=[*old.grad_norm, *new.grad_norm],
            row_evidence=[*old.row_evidence, *new.row_evidence],
            scores={
                name: [*old.scores.get(name, ()), *new.scores.get(name, ())]
                for name in {**old.scores, **new.scores}
            },
            steps_per_epoch=new.steps_per_epoch or old.steps_per_epoch,
        )
        return self._points
