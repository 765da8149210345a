"""Timing of a probe's steps and its peak memory with the longest rows."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ftwizard.jobs.worker import Worker
from ftwizard.train.meter import Meter


class StepTimer(TrainerCallback):
    """Times ``steps`` steps with the longest rows, then as many with typical rows.

    The first of several steps is not counted: it allocates the optimizer's state and warms up the
    libraries. Steps with typical rows end after ``max_typical_s`` seconds.
    """

    def __init__(self, worker: Worker, meter: Meter, steps: int, max_typical_s: float) -> None:
        self._worker = worker
        self._meter = meter
        self._steps = steps
        self._max_typical_s = max_typical_s
        self._step_started = 0.0
        self.at_longest: list[float] = []
        self.typical: list[float] = []
        self.peak = 0
        """Peak memory with the longest rows, in bytes."""
        self.allocated: int | None = None
        self.precision = ""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.precision = "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32"
        self._report(0)
        self._step_started = time.perf_counter()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._worker.check_stop()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        if self._meter.on_gpu:
            import torch

            torch.cuda.synchronize()
        now = time.perf_counter()
        seconds, self._step_started = now - self._step_started, now
        step = state.global_step
        if step <= self._steps:
            if step > 1 or self._steps == 1:
                self.at_longest.append(seconds)
            self.peak, self.allocated = self._meter.peak(), self._meter.allocated()
        else:
            self.typical.append(seconds)
            if sum(self.typical) >= self._max_typical_s:
                control.should_training_stop = True
        self._report(step)
        return control

    def _report(self, step: int) -> None:
        is_longest = step < self._steps
        self._worker.phase(
            "measuring",
            what="steps with the longest rows" if is_longest else "steps with typical rows",
            done=step if is_longest else step - self._steps,
            total=self._steps,
            unit="steps",
        )
