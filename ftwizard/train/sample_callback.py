"""Sample answers to fixed prompts, before the first step and at each evaluation.

Sampling does not affect the training: modes, random state and settings are restored.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from transformers import TrainerCallback

from ftwizard.data.reader import ParsedRow
from ftwizard.estimate.generation import FIRST_SAMPLES_S, MIN_SAMPLES_S, SAMPLES_RATIO
from ftwizard.jobs.worker import Worker
from ftwizard.train import generate
from ftwizard.train.encoder import Encoder
from ftwizard.train.moments import Moment, with_moment
from ftwizard.train.sample_prompts import SamplePrompt


class SampleCallback(TrainerCallback):
    """Writes ``sample`` events. A failure ends the sampling, never the training."""

    def __init__(
        self,
        worker: Worker,
        prompts: Sequence[SamplePrompt],
        encoder: Encoder,
        limit: int,
        rows: Sequence[ParsedRow] = (),
        *,
        together: bool = False,
    ) -> None:
        """Set up the callback; ``limit`` is the maximum of new tokens per answer.

        ``rows``: the validation rows, by which rewards judge the answers; ``together``: the model's
        weights are shared by processes, which must all generate.
        """
        self._rows = {row.line: row for row in rows}
        self._together = together
        self._events = worker.events
        self._should_stop = None if together else lambda _: worker.stop_asked()
        self._prompts = prompts
        self._encoder = encoder
        self._limit = limit
        self._trainer: Any = None

    def attach(self, trainer: Any) -> None:
        """Set the trainer whose model answers."""
        self._trainer = trainer

    @with_moment
    def on_train_begin(self, moment: Moment) -> None:
        if moment.step == 0:
            self._answer(0, FIRST_SAMPLES_S)

    @with_moment
    def on_evaluate(self, moment: Moment) -> None:
        eval_s = float(moment.metrics.get("eval_runtime", 0.0))
        self._answer(moment.step, max(MIN_SAMPLES_S, SAMPLES_RATIO * eval_s))

    def _answer(self, step: int, limit_s: float) -> None:
        if not self._prompts:
            return
        self._events.write("phase", phase="evaluating", what="samples")
        began = time.monotonic()
        try:
            with evaluation_mode(self._trainer):
                answers = generate.generate_answers(
                    self._trainer.model,
                    self._encoder,
                    [prompt.ids for prompt in self._prompts],
                    self._limit,
                    seconds=limit_s,
                    should_stop=self._should_stop,
                    together=self._together,
                )
            rewards = self._score([answer.whole for answer in answers])
        except Exception as error:  # noqa: BLE001 (such as memory that suffices only for training)
            self._give_up(step, error)
            return
        seconds = round(time.monotonic() - began, 3)
        for index, (prompt, answer) in enumerate(zip(self._prompts, answers, strict=True)):
            self._events.write(
                "sample",
                step=step,
                index=index,
                prompt=prompt.prompt,
                answer=answer.text,
                expected=prompt.expected,
                seconds=seconds,  # of the whole batch
                truncated=not answer.ended,
                **rewards.get(index, {}),
            )

    def _score(self, answers: Sequence[str]) -> dict[int, dict[str, Any]]:
        """Return the rewards of the answers to validation rows, by index, where the trainer has any."""
        score = getattr(self._trainer, "score_answers", None)
        rows = {n: self._rows.get(prompt.line or 0) for n, prompt in enumerate(self._prompts)}
        scored = {n: row for n, row in rows.items() if row is not None}
        if score is None or not scored:
            return {}
        values = score(list(scored.values()), [answers[n] for n in scored])
        return dict(zip(scored, values, strict=True))

    def _give_up(self, step: int, error: Exception) -> None:
        self._prompts = ()
        reason = (str(error).splitlines() or [""])[0][:200]
        self._events.write_finding(
            "samples_failed",
            f"Sample answers failed and are off for this run: {type(error).__name__}: {reason}",
            step=step,
        )
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@contextmanager
def evaluation_mode(trainer: Any) -> Iterator[None]:
    """Use evaluation mode in the training's precision, then restore modes and random state."""
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
