"""The decisions of the first process, in all processes that train together."""

from __future__ import annotations

from transformers import TrainerCallback

from ftwizard.train.moments import Moment, with_moment
from ftwizard.train.rank_group import RankGroup

_FLAGS = (
    "should_training_stop",
    "should_epoch_stop",
    "should_save",
    "should_evaluate",
    "should_log",
)


class SharedControl(TrainerCallback):
    """Lets all processes do what the first decided; it must be the last callback.

    Requests, limits, early stopping and a NaN loss are decided in the first process alone, as their
    files and clocks may differ elsewhere. The others wait here while it takes samples.
    """

    def __init__(self, group: RankGroup) -> None:
        self._group = group

    @with_moment
    def on_train_begin(self, moment: Moment) -> None:
        self._share(moment)

    @with_moment
    def on_step_end(self, moment: Moment) -> None:
        self._share(moment)

    @with_moment
    def on_log(self, moment: Moment) -> None:
        self._share(moment)

    @with_moment
    def on_evaluate(self, moment: Moment) -> None:
        self._share(moment)

    def _share(self, moment: Moment) -> None:
        control = moment.control
        flags = self._group.share_flags([getattr(control, name) for name in _FLAGS])
        for name, flag in zip(_FLAGS, flags, strict=True):
            setattr(control, name, flag)
