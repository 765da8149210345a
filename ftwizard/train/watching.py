"""What looks at a training besides, and changes nothing in it: efficiency, hardest rows, samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ftwizard.jobs.worker import Worker
from ftwizard.plan import Plan
from ftwizard.train.efficiency import Efficiency
from ftwizard.train.hardest import Hardest
from ftwizard.train.samples import Samples

if TYPE_CHECKING:
    from ftwizard.train.trainer import Prepared


class Watching:
    """These callbacks: ``first`` adds to the logs, so it stands before what writes them down, and
    ``after`` writes events of its own."""

    def __init__(self, worker: Worker, plan: Plan, ready: Prepared) -> None:
        self.first = Efficiency(worker, plan.recipe, ready.base)
        split_off = not plan.data.files.validation
        self.after = (
            Hardest(worker, ready.encoded["validation"], ready.validation, split_off=split_off),
            Samples(worker, ready.asked, ready.encoder, plan.samples.max_tokens),
        )

    def attach(self, trainer: Any) -> None:
        """Take the trainer that was built with them."""
        for one in (self.first, *self.after):
            one.attach(trainer)
