"""The seconds of each step of a probe, and the peak of its memory at the longest rows."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ftwizard.jobs.worker import Worker
from ftwizard.train.meter import Meter


class Timer(TrainerCallback):
    """Times ``steps`` steps at the longest rows, then as many at rows as they come.

    The first step is not counted where there are more: it makes the optimizer's state, and
    libraries prepare themselves in it. Steps at rows as they come end after ``most_s`` seconds.
    """

    def __init__(self, worker: Worker, meter: Meter, steps: int, most_s: float) -> None:
        self._worker = worker
        self._meter = meter
        self._steps = steps
        self._most_s = most_s
        self._at = 0.0
        self.at_longest: list[float] = []
        self.typical: list[float] = []
        self.peak = 0
        """Of the memory at the longest rows, bytes."""
        self.allocated: int | None = None
        self.precision = ""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.precision = "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32"
        self._say(0)
        self._at = time.perf_counter()

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
        spent, self._at = now - self._at, now
        step = state.global_step
        if step <= self._steps:
            if step > 1 or self._steps == 1:
                self.at_longest.append(spent)
            self.peak, self.allocated = self._meter.peak(), self._meter.allocated()
        else:
            self.typical.append(spent)
            if sum(self.typical) >= self._most_s:
                control.should_training_stop = True
        self._say(step)
        return control

    def _say(self, step: int) -> None:
        longest = step < self._steps
        self._worker.phase(
            "measuring",
            what="steps at the longest rows" if longest else "steps at rows as they come",
            done=step if longest else step - self._steps,
            total=self._steps,
            unit="steps",
        )
