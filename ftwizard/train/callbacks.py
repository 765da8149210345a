"""Trainer callbacks for events, stops and budgets, early stopping and checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl

from ftwizard.estimate.generation import MIN_SAMPLES_S, SAMPLES_RATIO
from ftwizard.jobs import requests
from ftwizard.jobs.worker import Stopped, Worker
from ftwizard.text import format_bytes
from ftwizard.train import checkpoint_rotation, efficiency, logged_fields, validation_cost
from ftwizard.train.budget import WARNING_SHARE, Limit
from ftwizard.train.checkpoint_saving import CheckpointSaver
from ftwizard.train.measure import folder_bytes
from ftwizard.train.moments import Moment, with_moment
from ftwizard.train.peak_memory import PeakMemoryMeter
from ftwizard.train.rank_group import ALONE, RankGroup
from ftwizard.train.validation_rows import ValidationRows

PROGRESS_INTERVAL_S = 1.0
BYTES_PER_WEIGHT = 12
"""Of a checkpoint, for each trained weight: itself and the optimizer's two moments in 32 bit."""
OTHER_BYTES = 200_000_000
"""Of a checkpoint, beyond its weights: the tokenizer and the states of the trainer."""
MAX_SIZE_RATIO = 2.0
MAX_OVERRUN = 1.05
"""Share of a time limit up to which the last evaluation is made, as steps take more or less time."""
_LOGGED = (
    "loss", "learning_rate", "grad_norm", "mean_token_accuracy", "entropy", *efficiency.FIELDS,
)  # fmt: skip
_EVALUATED = (
    "eval_loss", "eval_mean_token_accuracy", "eval_runtime",
    "eval_rows", "eval_step_noise", "eval_rise", "eval_rise_low", "eval_rise_high",
)  # fmt: skip


class EvaluationTimer(TrainerCallback):
    """Times evaluations by the monotonic clock: the trainer takes the date, which may jump."""

    def attach(self, trainer: Any) -> None:
        """Time the evaluations of this trainer."""
        evaluate = trainer.evaluate

        def evaluate_timed(*args: Any, **kwargs: Any) -> Any:
            self._began = time.monotonic()
            return evaluate(*args, **kwargs)

        trainer.evaluate = evaluate_timed

    @with_moment
    def on_evaluate(self, moment: Moment) -> None:
        moment.metrics["eval_runtime"] = time.monotonic() - self._began


class Recorder(TrainerCallback):
    """Writes every step and every evaluation to the run's events."""

    def __init__(
        self,
        worker: Worker,
        tokens_before: int,
        meter: PeakMemoryMeter,
        facts: Mapping[str, Any],
    ) -> None:
        """Set up the callback; ``facts`` on the run are written with the beginning of training."""
        self._events = worker.events
        self._facts = facts
        self._tokens_before = tokens_before
        self.meter = meter
        self._evaluated_batches = 0
        self._last_progress = 0.0
        self.tokens = tokens_before
        """Tokens trained on so far, over all attempts."""

    @with_moment
    def on_train_begin(self, moment: Moment) -> None:
        self._events.write(
            "phase",
            phase="training",
            step=moment.step,
            total=moment.state.max_steps,
            unit="steps",
            vocabulary=moment.vocabulary,
            accumulation=moment.args.gradient_accumulation_steps,
            **self._facts,
        )

    @with_moment
    def on_log(self, moment: Moment) -> None:
        logs = moment.logs
        if "loss" not in logs:
            return  # evaluations are recorded by on_evaluate; the final summary is ours
        # TRL counts tokens from the start of this process.
        self.tokens = self._tokens_before + int(logs.get("num_tokens", 0))
        self._events.write(
            "log",
            step=moment.step,
            epoch=moment.state.epoch,
            tokens=self.tokens,
            memory=self.meter.peak(),
            memory_on_gpu=self.meter.on_gpu,
            **_pick(logs, _LOGGED),
            **logged_fields.pick(logs),
        )

    @with_moment
    def on_prediction_step(self, moment: Moment) -> None:
        self._evaluated_batches += 1
        now = time.monotonic()
        if now - self._last_progress < PROGRESS_INTERVAL_S:
            return
        self._last_progress = now
        loader = moment.values.get("eval_dataloader")
        self._events.write(
            "phase",
            phase="evaluating",
            done=self._evaluated_batches,
            total=None if loader is None else len(loader),
            unit="batches",
        )

    @with_moment
    def on_evaluate(self, moment: Moment) -> None:
        self._evaluated_batches = 0
        metrics = _pick(moment.metrics, _EVALUATED) | logged_fields.pick(moment.metrics, "eval_")
        self._events.write("eval", step=moment.step, epoch=moment.state.epoch, **metrics)


def _pick(values: dict[str, Any], names: Iterable[str]) -> dict[str, float]:
    return {name: float(values[name]) for name in names if name in values}


class RunControl(TrainerCallback):
    """Handles requests, signals and budgets at step ends, and stops when the loss is NaN.

    ``end_reason`` is ``stopped``, ``nan``, or ``early_stopped`` at a limit at which the run finishes,
    once it has ended the training.
    """

    def __init__(self, worker: Worker, limits: Iterable[Limit] = (), ranks: int = 1) -> None:
        """Set up the callback; ``ranks`` processes share an evaluation."""
        self._worker = worker
        self._ranks = ranks
        self._limits = tuple(limits)
        self._warned: set[str] = set()
        self._trainer: Any = None
        self._step_started = 0.0
        self._step_s = 0.0
        """Of the longest step so far."""
        self._newest_step_s = 0.0
        self._evaluation_s: float | None = None
        """Of the newest evaluation; None before the first."""
        self._can_evaluate = True
        """Whether the time limit leaves enough for an evaluation."""
        self.end_reason: str | None = None
        self.message = ""

    def attach(self, trainer: Any) -> None:
        """Count the trainer's evaluations, and let a stop interrupt one: there is nothing to save in it.

        Of several processes, none can leave it alone.
        """
        self._trainer = trainer
        if self._ranks > 1:
            return
        evaluate, compute, worker = trainer.evaluate, trainer.evaluation_loop, self._worker

        def compute_interruptibly(*args: Any, **kwargs: Any) -> Any:
            worker.saves_itself = False
            worker.events.write("phase", phase="evaluating")
            output = compute(*args, **kwargs)
            worker.saves_itself = True
            return output

        def evaluate_or_stop(*args: Any, **kwargs: Any) -> Any:
            try:
                return evaluate(*args, **kwargs)
            except Stopped:
                worker.saves_itself = True
                trainer.control.should_evaluate = False
                self._stop(trainer.control, "stopped")
                return {}

        trainer.evaluation_loop, trainer.evaluate = compute_interruptibly, evaluate_or_stop

    @with_moment
    def on_step_begin(self, moment: Moment) -> None:
        self._step_started = time.monotonic()

    @with_moment
    def on_evaluate(self, moment: Moment) -> None:
        self._evaluation_s = float(moment.metrics.get("eval_runtime", 0.0))

    @with_moment
    def on_step_end(self, moment: Moment) -> None:
        control = moment.control
        if self._step_started:
            self._newest_step_s = time.monotonic() - self._step_started
            self._step_s = max(self._step_s, self._newest_step_s)
            self._worker.pace.expect("step", self._newest_step_s)
            if self._ranks > 1:  # else a stop interrupts it
                self._worker.pace.expect("evaluation", self._estimate_evaluation(moment))
        if self._worker.stop_asked():
            self._stop(moment.control, "stopped")
        else:
            self._check_limits(moment)
        if self._take_request("save"):
            control.should_save = True
        if self._take_request("evaluate"):
            control.should_evaluate = moment.validates
            if not moment.validates:
                self._worker.events.write_finding(
                    "nothing_to_evaluate",
                    "An evaluation was requested, but this run has no validation data.",
                    step=moment.step,
                )
        if moment.step >= moment.state.max_steps:
            control.should_evaluate = moment.validates
            control.should_save = True

    def _take_request(self, name: requests.Name) -> bool:
        folder = self._worker.folder
        if not requests.read_pending(folder, name, self._worker.attempt):
            return False
        requests.remove(folder, name)
        return True

    @with_moment
    def on_log(self, moment: Moment) -> None:
        loss = moment.logs.get("loss", 0.0)
        if math.isfinite(loss):
            return
        self.end_reason = "nan"
        value = "NaN" if math.isnan(loss) else loss
        self.message = f"Training loss became {value} at step {moment.step}."
        control = moment.control
        # The weights are broken: they must not become the newest checkpoint.
        control.should_save = control.should_evaluate = False
        control.should_training_stop = True

    def _estimate_evaluation(self, moment: Moment) -> float:
        """Return the seconds of an evaluation with its samples.

        Before the first evaluation, its passes are taken to last half as long as those of the newest
        step, because they have no backward pass.
        """
        each = self._evaluation_s
        if each is None:
            dataset = self._trainer.eval_dataset if self._trainer and moment.validates else None
            together = moment.args.per_device_eval_batch_size * self._ranks
            batches = -(-len(dataset) // together) if dataset else 0
            each = batches * self._newest_step_s / moment.args.gradient_accumulation_steps / 2
        return each + max(MIN_SAMPLES_S, each * SAMPLES_RATIO)

    def _plan_ending(self, moment: Moment, limit: Limit) -> float:
        """Return the seconds of one more step and of the last evaluation, to be kept free.

        An evaluation that would take too long for the limit is left out.
        """
        evaluation_s = self._estimate_evaluation(moment)
        self._can_evaluate = limit.share(evaluation_s - 2 * self._step_s) <= MAX_OVERRUN
        if not self._can_evaluate:
            moment.control.should_evaluate = False
            return self._step_s
        return self._step_s + (2 if moment.control.should_evaluate else 1) * evaluation_s

    def _check_limits(self, moment: Moment) -> None:
        is_last = moment.step >= moment.state.max_steps
        for limit in self._limits:
            if limit.finishes and is_last:
                continue
            ending_s = self._plan_ending(moment, limit) if limit.finishes else 0.0
            share = limit.share(ending_s)
            if share >= 1:
                if limit.finishes:  # the last weights may be the best
                    moment.control.should_evaluate = moment.validates and self._can_evaluate
                reason = "early_stopped" if limit.finishes else "stopped"
                self._stop(moment.control, reason, limit.describe_exhausted())
                return
            if share >= WARNING_SHARE and limit.name not in self._warned:
                self._warned.add(limit.name)
                self._worker.events.write_finding(
                    "budget",
                    limit.describe_warning(ending_s),
                    "warning",
                    step=moment.step,
                    action="Let it end early, or stop it now and keep the best weights."
                    if limit.finishes
                    else "Let it continue: at the limit it saves, stops and keeps the best weights.",
                    actions=["go_on", "stop_keep_best"],
                )

    def _stop(self, control: TrainerControl, end_reason: str, message: str = "") -> None:
        self.end_reason, self.message = end_reason, message
        control.should_save = control.should_training_stop = True


def is_scheduled(step: int, every: float, total: int) -> bool:
    """Return whether an evaluation at ``step`` is scheduled, and not one that a viewer requested."""
    return step >= total or step % max(1, int(every)) == 0


class Patience:
    """Counts evaluations since the best one; “End-to-End Fine-Tuning Pipeline” stops after three."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best_cost = math.inf
        self.best_step = 0
        self.since_best = 0

    def update(self, step: int, cost: float) -> bool:
        """Add an evaluation, see ``validation_cost``; return whether patience is exhausted."""
        if cost < self.best_cost:
            self.best_cost, self.best_step, self.since_best = cost, step, 0
        else:
            self.since_best += 1
        return self.is_exhausted

    def replay(self, log_history: list[dict[str, float]], every: float) -> None:
        """Add the scheduled evaluations of earlier attempts from a trainer's history."""
        for entry in log_history:
            cost = validation_cost.read_cost(entry)
            if cost is not None and int(entry["step"]) % max(1, int(every)) == 0:
                self.update(int(entry["step"]), cost)

    @property
    def is_exhausted(self) -> bool:
        """Return whether none of the last ``patience`` evaluations was better than the best."""
        return self.since_best >= self.patience


class OverfitDetector(TrainerCallback):
    """Stops the training when the validation has not improved for ``patience`` evaluations."""

    def __init__(self, worker: Worker, patience: int) -> None:
        self._events = worker.events
        self._patience = Patience(patience)
        self.fired = False

    @with_moment
    def on_train_begin(self, moment: Moment) -> None:
        self._patience.replay(moment.state.log_history, moment.state.eval_steps)

    @with_moment
    def on_evaluate(self, moment: Moment) -> None:
        state, cost = moment.state, validation_cost.read_cost(moment.metrics)
        if cost is None or not is_scheduled(moment.step, state.eval_steps, state.max_steps):
            return
        is_exhausted = self._patience.update(moment.step, cost)
        if not is_exhausted or moment.step >= state.max_steps or self.fired:
            return
        self.fired = True
        patience = self._patience
        self._events.write_finding(
            "early_stop",
            validation_cost.describe_stop(
                moment.metrics, patience.since_best, patience.best_cost, patience.best_step
            ),
            "warning",
            step=moment.step,
        )
        moment.control.should_training_stop = True


class CheckpointKeeper(TrainerCallback):
    """Saves at every evaluation, marks complete checkpoints, and keeps the best and the newest."""

    def __init__(
        self,
        worker: Worker,
        recorder: Recorder,
        rows: ValidationRows,
        group: RankGroup = ALONE,
    ) -> None:
        self._worker = worker
        self._group = group
        self._recorder = recorder
        self._rows = rows
        self._evaluated: dict[int, dict[str, float]] = {}
        """The newest validation loss or reward, by its step."""
        self._save_started = 0.0
        self._expected_bytes: int | None = None
        """Of the first checkpoint that this attempt saves; None once it was checked."""

    def attach(self, trainer: Any) -> None:
        """Take the place of the trainer's own saves."""
        trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
        self._expected_bytes = trained * BYTES_PER_WEIGHT
        CheckpointSaver(self._worker, trainer, self._complete, self._group)

    @with_moment
    def on_train_begin(self, moment: Moment) -> None:
        # A resumed trainer takes it from the checkpoint, but it may have changed since.
        moment.state.save_steps = int(moment.args.save_steps)

    @with_moment
    def on_step_end(self, moment: Moment) -> None:
        self._save_started = time.monotonic()

    @with_moment
    def on_evaluate(self, moment: Moment) -> None:
        if values := validation_cost.read_finite(moment.metrics):
            self._evaluated = {moment.step: values}
        moment.control.should_save = True
        self._save_started = time.monotonic()
        self._report_saving()

    @with_moment
    def on_log(self, moment: Moment) -> None:
        control = moment.control
        if "loss" in moment.logs and control.should_save and not control.should_evaluate:
            self._report_saving()

    def _report_saving(self) -> None:
        self._worker.events.write("phase", phase="saving")

    def _complete(self, path: Path, step: int) -> None:
        """Mark a saved checkpoint as complete and record it; delete older ones."""
        self._rows.save(path, step)
        marker = checkpoint_rotation.mark_complete(
            path,
            step=step,
            attempt=self._worker.attempt,
            **self._evaluated.get(step, {}),
            tokens=self._recorder.tokens,
            seconds=time.monotonic() - self._save_started,
        )
        self._worker.pace.expect("save", marker.seconds)
        self._check_size(sum(marker.files.values()), step)
        self._worker.events.write(
            "checkpoint",
            step=step,
            path=f"{path.parent.name}/{marker.name}",
            eval_loss=marker.eval_loss,
            **({} if marker.eval_reward is None else {"eval_reward": marker.eval_reward}),
            seconds=round(marker.seconds, 3),
            memory=self._recorder.meter.peak(),
            disk=folder_bytes(path.parent),
        )
        self._worker.events.sync()
        checkpoint_rotation.rotate(path.parent)

    def _check_size(self, size: int, step: int) -> None:
        """Report a first checkpoint that holds far more than what is trained, such as the base model."""
        expected, self._expected_bytes = self._expected_bytes, None
        if expected is None or size <= MAX_SIZE_RATIO * expected + OTHER_BYTES:
            return
        self._worker.events.write_finding(
            "large_checkpoint",
            f"The first checkpoint has {format_bytes(size)}; what is trained needs about "
            f"{format_bytes(expected)}. Each save takes as much.",
            "warning",
            step=step,
            evidence={"bytes": size, "expected": expected},
        )


class CheckpointFollower(TrainerCallback):
    """Saves this process's part of a checkpoint, which the first of its group completes."""

    def __init__(self, worker: Worker, group: RankGroup) -> None:
        self._worker = worker
        self._group = group

    def attach(self, trainer: Any) -> None:
        """Take the place of the trainer's own saves."""
        CheckpointSaver(self._worker, trainer, lambda path, step: None, self._group)
