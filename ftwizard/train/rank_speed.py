"""The speed of several processes against one, measured on a few passes before the first step."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from transformers import TrainerCallback

from ftwizard.jobs.worker import Worker
from ftwizard.plan.schema import Recipe
from ftwizard.train.moments import Moment, with_moment
from ftwizard.train.rank_group import RankGroup
from ftwizard.train.rank_rows import NO_LOSS

TIMED_PASSES = 3
"""After one more, in which memory is allocated and kernels are loaded."""
MAX_OVER = 1.1
MAX_PASS_S = 20.0
"""A pass that takes longer is not repeated: the speed stays unknown."""


class SpeedMeter(TrainerCallback):
    """Measures how much faster the processes are together than the first alone.

    The first computes gradients on a batch while the others wait, then all do, and average them. The
    optimizer's step is the same in both and is left out. Nothing of it changes the training.
    """

    def __init__(
        self, worker: Worker, group: RankGroup, facts: dict[str, Any], recipe: Recipe
    ) -> None:
        """Set up the callback; the result is added to ``facts`` as ``speed``, None if unknown."""
        self._worker = worker
        self._references = round(recipe.reference_passes)
        self._group = group
        self._facts = facts
        self._trainer: Any = None

    def attach(self, trainer: Any) -> None:
        """Set the trainer whose model is measured."""
        self._trainer = trainer

    @with_moment
    def on_train_begin(self, moment: Moment) -> None:
        self._worker.phase("loading", what="speed of one process, then of all")
        self._facts["speed"] = self._measure()

    def _measure(self) -> float | None:
        import torch
        from torch.nn.parallel import DistributedDataParallel

        trainer, device = self._trainer, self._trainer.args.device
        wrapped = trainer.model_wrapped
        holds_all = isinstance(wrapped, DistributedDataParallel)
        if not holds_all:
            return None  # no process has the whole model
        size = trainer.args.per_device_train_batch_size
        rows = [trainer.train_dataset[n] for n in range(min(size, len(trainer.train_dataset)))]
        inputs = _to_inputs(trainer._prepare_inputs(trainer.data_collator(rows)))
        forked = [device] if device.type == "cuda" else []
        was_training = wrapped.training
        with torch.random.fork_rng(devices=forked):
            wrapped.train()
            alone = None
            if self._group.is_first:
                with _all_threads(self._group.size):  # the model itself exchanges nothing
                    alone = self._time_passes(trainer.model, inputs)
            alone = self._group.share(alone)
            together = None if alone is None else self._time_passes(wrapped, inputs)
            wrapped.train(was_training)
        trainer.model.zero_grad(set_to_none=True)
        slowest = self._group.gather(together)
        if alone is None:
            return None
        ratio: float = self._group.size * alone / max(slowest)
        # Faster than their number is no measurement: other programs took the processors meanwhile.
        return round(ratio, 2) if ratio <= MAX_OVER * self._group.size else None

    def _time_passes(self, model: Any, inputs: dict[str, Any]) -> float | None:
        """Return the seconds of a forward and backward pass, with those of a reference; None if they
        are too long to repeat."""
        if self._time_pass(model, inputs) > MAX_PASS_S:
            return None
        return min(self._time_pass(model, inputs) for _ in range(TIMED_PASSES))

    def _time_pass(self, model: Any, inputs: dict[str, Any]) -> float:
        import torch

        began = time.perf_counter()
        with torch.no_grad():  # as long as one of the reference
            for _ in range(self._references):
                self._trainer.model(**inputs, fused_lm_head=True)
        output = model(**inputs, fused_lm_head=True)
        (-output.log_probs.sum() / output.label_mask.sum().clamp(min=1)).backward()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - began


def _to_inputs(batch: dict[str, Any]) -> dict[str, Any]:
    """Return what the model takes of a batch; preference rows have a mask for their labels."""
    if "completion_mask" not in batch:
        return batch
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, NO_LOSS)
    return {
        "input_ids": batch["input_ids"],
        "attention_mask": batch["attention_mask"],
        "labels": labels,
    }


@contextlib.contextmanager
def _all_threads(processes: int) -> Any:
    """Let this process use the CPU's threads of all, as one that trains alone would."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(threads * processes)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
