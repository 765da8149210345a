"""What happens beside the training loop: events, stops, the overfit detector, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ftwizard.jobs import requests
from ftwizard.jobs.worker import Worker
from ftwizard.train import efficiency, saved
from ftwizard.train.actual import bytes_below
from ftwizard.train.budget import WARNING_SHARE, Limit
from ftwizard.train.meter import Meter
from ftwizard.train.schedule import Patience, counts

PROGRESS_SECONDS = 1.0


class Recorder(TrainerCallback):
    """Writes every step and every evaluation into the run's events."""

    def __init__(self, worker: Worker, tokens_before: int, meter: Meter) -> None:
        self._events = worker.events
        self._tokens_before = tokens_before
        self._meter = meter
        self._predicted = 0
        self._said = 0.0
        self.tokens = tokens_before
        """Tokens that the run has seen, over all attempts."""

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **_: Any,
    ) -> None:
        self._events.write(
            "phase",
            phase="training",
            step=state.global_step,
            total=state.max_steps,
            unit="steps",
            vocabulary=vocabulary(model),
            accumulation=args.gradient_accumulation_steps,
        )

    def peak(self) -> int:
        """Return the most bytes of memory so far."""
        return self._meter.peak()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if not logs or "loss" not in logs:
            return  # an evaluation arrives by on_evaluate, the summary at the end is ours
        # TRL counts tokens from the start of this process.
        self.tokens = self._tokens_before + int(logs.get("num_tokens", 0))
        self._events.write(
            "log",
            step=state.global_step,
            epoch=state.epoch,
            tokens=self.tokens,
            memory=self.peak(),
            memory_on_gpu=self._meter.on_gpu,
            **{
                name: float(logs[name])
                for name in (
                    "loss",
                    "learning_rate",
                    "grad_norm",
                    "mean_token_accuracy",
                    "entropy",
                    *efficiency.FIELDS,
                )
                if name in logs
            },
        )

    def on_prediction_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        eval_dataloader: Any = None,
        **_: Any,
    ) -> None:
        self._predicted += 1
        now = time.monotonic()
        if now - self._said >= PROGRESS_SECONDS:
            self._said = now
            total = len(eval_dataloader) if eval_dataloader is not None else None
            self._events.write(
                "phase", phase="evaluating", done=self._predicted, total=total, unit="batches"
            )

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        self._predicted = 0
        found = metrics or {}
        self._events.write(
            "eval",
            step=state.global_step,
            epoch=state.epoch,
            **{
                name: float(found[name])
                for name in ("eval_loss", "eval_mean_token_accuracy", "eval_runtime")
                if name in found
            },
        )


class Steering(TrainerCallback):
    """Obeys viewers, signals and the budget at step ends, and ends a loss that is no number.

    ``end_reason`` is ``stopped`` or ``nan`` once it has ended the training.
    """

    def __init__(self, worker: Worker, limits: Iterable[Limit] = ()) -> None:
        self._worker = worker
        self._limits = tuple(limits)
        self._warned: set[str] = set()
        self.end_reason: str | None = None
        self.message = ""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        folder, attempt = self._worker.folder, self._worker.attempt
        if self._worker.stop_asked():
            self._stop(control, "")
        else:
            self._mind_limits(state, control)
        if requests.pending(folder, "save", attempt):
            requests.done(folder, "save")
            control.should_save = True
        if requests.pending(folder, "evaluate", attempt):
            requests.done(folder, "evaluate")
            control.should_evaluate = validates(args)
            if not control.should_evaluate:
                self._worker.events.write(
                    "finding",
                    code="nothing_to_evaluate",
                    severity="info",
                    step=state.global_step,
                    message="An evaluation was asked for, but this run has no validation data.",
                )
        if state.global_step >= state.max_steps:
            control.should_evaluate = validates(args)
            control.should_save = True
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> TrainerControl:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            self.end_reason = "nan"
            self.message = f"The training loss became {loss} at step {state.global_step}."
            # Its weights are spoilt: they must not become the newest checkpoint.
            control.should_save = control.should_evaluate = False
            control.should_training_stop = True
        return control

    def _mind_limits(self, state: TrainerState, control: TrainerControl) -> None:
        for limit in self._limits:
            share = limit.share()
            if share >= 1:
                self._stop(control, limit.reached())
                return
            if share >= WARNING_SHARE and limit.name not in self._warned:
                self._warned.add(limit.name)
                self._worker.events.write(
                    "finding",
                    code="budget",
                    severity="warning",
                    step=state.global_step,
                    message=limit.nearly(),
                    action="Let it go on: at the limit it saves and stops, and keeps the best weights.",
                    actions=["go_on", "stop_keep_best"],
                )

    def _stop(self, control: TrainerControl, message: str) -> None:
        self.end_reason, self.message = "stopped", message
        self._worker.events.write("phase", phase="saving")
        control.should_save = control.should_training_stop = True


class OverfitDetector(TrainerCallback):
    """Stops when the validation loss has not improved for ``patience`` evaluations."""

    def __init__(self, worker: Worker, patience: int) -> None:
        self._events = worker.events
        self._seen = Patience(patience)
        self.fired = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._seen.replay(state.log_history, state.eval_steps)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any] | None = None,
        **_: Any,
    ) -> TrainerControl:
        loss = (metrics or {}).get("eval_loss")
        if loss is None or not counts(state.global_step, state.eval_steps, state.max_steps):
            return control
        if not self._seen.see(state.global_step, float(loss)):
            return control
        if state.global_step < state.max_steps and not self.fired:
            self.fired = True
            self._events.write(
                "finding",
                code="early_stop",
                severity="warning",
                step=state.global_step,
                message=f"The validation loss has not improved for {self._seen.since_best} evaluations "
                f"(now {float(loss):.4g}, best {self._seen.best_loss:.4g} at step {self._seen.best_step}); "
                "stopping, the best weights are kept.",
            )
            control.should_training_stop = True
        return control


def validates(args: TrainingArguments) -> bool:
    """Say whether a training evaluates rows that were held out."""
    return str(getattr(args.eval_strategy, "value", args.eval_strategy)) != "no"


def vocabulary(model: Any) -> int | None:
    """Return among how many tokens a model chooses, None without a model."""
    return None if model is None else int(model.config.get_text_config().vocab_size)


class Keeping(TrainerCallback):
    """Saves at every evaluation, marks what is complete, and keeps the best and the newest."""

    def __init__(self, worker: Worker, recorder: Recorder) -> None:
        self._worker = worker
        self._recorder = recorder
        self._evaluated: tuple[int, float] | None = None
        self._began = 0.0

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._began = time.monotonic()

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any] | None = None,
        **_: Any,
    ) -> TrainerControl:
        loss = (metrics or {}).get("eval_loss")
        if loss is not None and math.isfinite(loss):
            self._evaluated = (state.global_step, float(loss))
        control.should_save = True
        self._began = time.monotonic()
        return control

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        folder = Path(str(args.output_dir))
        step = state.global_step
        measured = self._evaluated and self._evaluated[0] == step
        marker = saved.complete(
            folder / f"checkpoint-{step}",
            step=step,
            attempt=self._worker.attempt,
            eval_loss=self._evaluated[1] if self._evaluated and measured else None,
            tokens=self._recorder.tokens,
            seconds=time.monotonic() - self._began,
        )
        self._worker.events.write(
            "checkpoint",
            step=step,
            path=f"{folder.name}/{marker.name}",
            eval_loss=marker.eval_loss,
            seconds=round(marker.seconds, 3),
            memory=self._recorder.peak(),
            disk=bytes_below(folder),
        )
        self._worker.events.sync()
        saved.rotate(folder)
