"""Trainer callbacks for events, stops and budgets, early stopping and checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ftwizard.jobs import requests
from ftwizard.jobs.worker import Worker
from ftwizard.train import checkpoint_rotation, efficiency
from ftwizard.train.budget import WARNING_SHARE, Limit
from ftwizard.train.early_stopping import Patience, is_scheduled
from ftwizard.train.measure import folder_bytes
from ftwizard.train.peak_memory import PeakMemoryMeter

PROGRESS_INTERVAL_S = 1.0


class Recorder(TrainerCallback):
    """Writes every step and every evaluation to the run's events."""

    def __init__(self, worker: Worker, tokens_before: int, meter: PeakMemoryMeter) -> None:
        self._events = worker.events
        self._tokens_before = tokens_before
        self._meter = meter
        self._evaluated_batches = 0
        self._last_progress = 0.0
        self.tokens = tokens_before
        """Tokens trained on so far, over all attempts."""

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
        """Return the peak memory so far, in bytes."""
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
            return  # evaluations are recorded by on_evaluate; the final summary is ours
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
        self._evaluated_batches += 1
        now = time.monotonic()
        if now - self._last_progress >= PROGRESS_INTERVAL_S:
            self._last_progress = now
            total = len(eval_dataloader) if eval_dataloader is not None else None
            self._events.write(
                "phase",
                phase="evaluating",
                done=self._evaluated_batches,
                total=total,
                unit="batches",
            )

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        self._evaluated_batches = 0
        metrics = metrics or {}
        self._events.write(
            "eval",
            step=state.global_step,
            epoch=state.epoch,
            **{
                name: float(metrics[name])
                for name in ("eval_loss", "eval_mean_token_accuracy", "eval_runtime")
                if name in metrics
            },
        )


class RunControl(TrainerCallback):
    """Handles requests, signals and budgets at step ends, and stops when the loss is NaN.

    ``end_reason`` is ``stopped`` or ``nan`` once it has stopped the training.
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
            self._check_limits(state, control)
        if requests.read_pending(folder, "save", attempt):
            requests.remove(folder, "save")
            control.should_save = True
        if requests.read_pending(folder, "evaluate", attempt):
            requests.remove(folder, "evaluate")
            control.should_evaluate = validates(args)
            if not control.should_evaluate:
                self._worker.events.write(
                    "finding",
                    code="nothing_to_evaluate",
                    severity="info",
                    step=state.global_step,
                    message="An evaluation was requested, but this run has no validation data.",
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
            value = "NaN" if math.isnan(loss) else loss
            self.message = f"Training loss became {value} at step {state.global_step}."
            # The weights are broken: they must not become the newest checkpoint.
            control.should_save = control.should_evaluate = False
            control.should_training_stop = True
        return control

    def _check_limits(self, state: TrainerState, control: TrainerControl) -> None:
        for limit in self._limits:
            share = limit.share()
            if share >= 1:
                self._stop(control, limit.describe_exhausted())
                return
            if share >= WARNING_SHARE and limit.name not in self._warned:
                self._warned.add(limit.name)
                self._worker.events.write(
                    "finding",
                    code="budget",
                    severity="warning",
                    step=state.global_step,
                    message=limit.describe_warning(),
                    action="Let it continue: at the limit it saves, stops and keeps the best weights.",
                    actions=["go_on", "stop_keep_best"],
                )

    def _stop(self, control: TrainerControl, message: str) -> None:
        self.end_reason, self.message = "stopped", message
        self._worker.events.write("phase", phase="saving")
        control.should_save = control.should_training_stop = True


class OverfitDetector(TrainerCallback):
    """Stops the training when the validation loss has not improved for ``patience`` evaluations."""

    def __init__(self, worker: Worker, patience: int) -> None:
        self._events = worker.events
        self._patience = Patience(patience)
        self.fired = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._patience.replay(state.log_history, state.eval_steps)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any] | None = None,
        **_: Any,
    ) -> TrainerControl:
        loss = (metrics or {}).get("eval_loss")
        if loss is None or not is_scheduled(state.global_step, state.eval_steps, state.max_steps):
            return control
        if not self._patience.update(state.global_step, float(loss)):
            return control
        if state.global_step < state.max_steps and not self.fired:
            self.fired = True
            self._events.write(
                "finding",
                code="early_stop",
                severity="warning",
                step=state.global_step,
                message=f"Validation loss has not improved for {self._patience.since_best} "
                f"evaluations (now {float(loss):.4g}, best {self._patience.best_loss:.4g} at step "
                f"{self._patience.best_step}). Stopping; the best weights are kept.",
            )
            control.should_training_stop = True
        return control


def validates(args: TrainingArguments) -> bool:
    """Return whether a training evaluates validation data."""
    return str(getattr(args.eval_strategy, "value", args.eval_strategy)) != "no"


def vocabulary(model: Any) -> int | None:
    """Return the model's vocabulary size, None without a model."""
    return None if model is None else int(model.config.get_text_config().vocab_size)


class CheckpointKeeper(TrainerCallback):
    """Saves at every evaluation, marks complete checkpoints, and keeps the best and the newest."""

    def __init__(self, worker: Worker, recorder: Recorder) -> None:
        self._worker = worker
        self._recorder = recorder
        self._last_eval: tuple[int, float] | None = None
        """Step and validation loss."""
        self._save_started = 0.0

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._save_started = time.monotonic()

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
            self._last_eval = (state.global_step, float(loss))
        control.should_save = True
        self._save_started = time.monotonic()
        return control

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        folder = Path(str(args.output_dir))
        step = state.global_step
        has_loss = self._last_eval is not None and self._last_eval[0] == step
        marker = checkpoint_rotation.mark_complete(
            folder / f"checkpoint-{step}",
            step=step,
            attempt=self._worker.attempt,
            eval_loss=self._last_eval[1] if self._last_eval and has_loss else None,
            tokens=self._recorder.tokens,
            seconds=time.monotonic() - self._save_started,
        )
        self._worker.events.write(
            "checkpoint",
            step=step,
            path=f"{folder.name}/{marker.name}",
            eval_loss=marker.eval_loss,
            seconds=round(marker.seconds, 3),
            memory=self._recorder.peak(),
            disk=folder_bytes(folder),
        )
        self._worker.events.sync()
        checkpoint_rotation.rotate(folder)
