"""Callbacks that observe a training without changing it: efficiency, high-loss rows and samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ftwizard.jobs.worker import Worker
from ftwizard.plan.schema import Plan
from ftwizard.train.efficiency import EfficiencyCallback
from ftwizard.train.high_loss_rows import HighLossRows
from ftwizard.train.sample_callback import SampleCallback

if TYPE_CHECKING:
    from ftwizard.train.trainer import Prepared


class Observers:
    """The observing callbacks.

    ``first`` adds to the logs, so it must come before the callback that records them. ``after``
    writes its own events.
    """

    def __init__(self, worker: Worker, plan: Plan, ready: Prepared) -> None:
        self.first = EfficiencyCallback(worker, plan.recipe, ready.base)
        split_off = not plan.data.files.validation
        self.after = (
            HighLossRows(
                worker, ready.encoded["validation"], ready.validation, split_off=split_off
            ),
            SampleCallback(worker, ready.prompts, ready.encoder, plan.samples.max_tokens),
        )

    def attach(self, trainer: Any) -> None:
        """Attach the callbacks to the trainer that was built with them."""
        for callback in (self.first, *self.after):
            callback.attach(trainer)
