"""Live diagnosis of a run while it trains."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import TrainerCallback

from ftwizard.diagnosis import Curve, CurveVerdict, Point, diagnose
from ftwizard.jobs.self_kept import SelfKeptJob
from ftwizard.jobs.worker import Worker
from ftwizard.runs import checkpoints, loss_curves
from ftwizard.runs.diagnosis_writer import DiagnosisWriter
from ftwizard.train.moments import Moment, with_moment


class DiagnosisCallback(TrainerCallback):
    """Diagnoses the run's curve at each evaluation, and between them as the log grows."""

    def __init__(self, worker: Worker | SelfKeptJob, facts: Mapping[str, Any]) -> None:
        """Set up the callback; ``facts`` are fields of ``Curve``."""
        self._worker = worker
        self._facts = facts
        self._vocabulary: int | None = None
        self._points = Curve(train=())
        self._rows = 0
        self._writer = DiagnosisWriter(worker.events)

    @property
    def last(self) -> CurveVerdict | None:
        """Return the newest verdict."""
        return self._writer.last

    @with_moment
    def on_train_begin(self, moment: Moment) -> None:
        self._vocabulary = moment.vocabulary

    @with_moment
    def on_log(self, moment: Moment) -> None:
        # An evaluation is logged before what its rows prove is known.
        is_evaluation = any(name.startswith("eval_") for name in moment.logs)
        if self._writer.is_due(len(moment.state.log_history)) and not is_evaluation:
            self._diagnose(moment)

    @with_moment
    def on_evaluate(self, moment: Moment) -> None:
        self._diagnose(moment)

    @with_moment
    def on_train_end(self, moment: Moment) -> None:
        self._writer.report_end(moment.step)

    def _diagnose(self, moment: Moment) -> None:
        self._writer.plan_next(len(moment.state.log_history))
        try:
            verdict = diagnose(self._curve(moment))
        except Exception as error:  # noqa: BLE001 (a failed diagnosis must not end the run)
            self._writer.report_failure(error)
            return
        self._writer.report(moment.step, verdict)

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
            scores=_join(old.scores, new.scores),
            metrics=_join(old.metrics, new.metrics),
            objective=old.objective if new.objective == "sft" else new.objective,
            steps_per_epoch=new.steps_per_epoch or old.steps_per_epoch,
        )
        return self._points


def _join(
    old: Mapping[str, Sequence[Point]], new: Mapping[str, Sequence[Point]]
) -> dict[str, Sequence[Point]]:
    return {name: [*old.get(name, ()), *new.get(name, ())] for name in {**old, **new}}
