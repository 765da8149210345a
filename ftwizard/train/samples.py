"""Answers to a few fixed prompts, before the first step and at each evaluation.

The training must not notice: modes, random state and settings are as they were.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ftwizard.jobs.worker import Worker
from ftwizard.train import generate
from ftwizard.train.prompts import Asked
from ftwizard.train.tokenise import Encoder

FIRST_S = 10.0
"""Before the first step, when nothing tells how long an evaluation takes."""
LEAST_S = 1.0
SHARE = 0.5
"""Of the time of the evaluation before them."""


class Samples(TrainerCallback):
    """Writes ``sample`` events. A failure ends the samples, never the training."""

    def __init__(
        self, worker: Worker, asked: Sequence[Asked], encoder: Encoder, limit: int
    ) -> None:
        """``limit``: tokens of the longest answer."""
        self._events = worker.events
        self._asked = asked
        self._encoder = encoder
        self._limit = limit
        self._trainer: Any = None

    def attach(self, trainer: Any) -> None:
        """Take the trainer whose model answers."""
        self._trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.global_step == 0:
            self._answer(0, FIRST_S)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        took = float((metrics or {}).get("eval_runtime", 0.0))
        self._answer(state.global_step, max(LEAST_S, SHARE * took))

    def _answer(self, step: int, most_s: float) -> None:
        if not self._asked:
            return
        self._events.write("phase", phase="evaluating", what="samples")
        began = time.monotonic()
        try:
            with _unnoticed(self._trainer):
                given = generate.answers(
                    self._trainer.model,
                    self._encoder,
                    [one.ids for one in self._asked],
                    self._limit,
                    seconds=most_s,
                )
        except Exception as error:  # noqa: BLE001 (memory may suffice for training and not for this)
            self._give_up(step, error)
            return
        seconds = round(time.monotonic() - began, 3)
        for index, (asked, answer) in enumerate(zip(self._asked, given, strict=True)):
            self._events.write(
                "sample",
                step=step,
                index=index,
                prompt=asked.prompt,
                answer=answer.text,
                expected=asked.expected,
                seconds=seconds,  # of all, which are generated at once
                truncated=not answer.ended,
            )

    def _give_up(self, step: int, error: Exception) -> None:
        self._asked = ()
        why = (str(error).splitlines() or [""])[0][:200]
        self._events.write(
            "finding",
            code="samples_failed",
            severity="info",
            step=step,
            message=f"The samples cannot be answered and are left out from here on: "
            f"{type(error).__name__}: {why}",
        )
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@contextmanager
def _unnoticed(trainer: Any) -> Iterator[None]:
    """Put the model into evaluation mode, in the precision of training; leave no trace."""
    import torch

    model = trainer.model
    modes = [(module, module.training) for module in model.modules()]
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), trainer.accelerator.autocast():
        model.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
