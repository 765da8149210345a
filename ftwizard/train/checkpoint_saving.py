"""Saves of a trainer that a failing disk does not end at once."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftwizard.jobs import rescue
from ftwizard.jobs.ending import classify_error, describe_error
from ftwizard.jobs.folder import RETRY_S, JobFolder
from ftwizard.jobs.worker import EarlyEnd, Worker
from ftwizard.train.rank_group import ALONE, RankGroup

MAX_UNSAVED_S = 600.0
"""Time for which training continues while its disk takes no checkpoint."""


class CheckpointSaver:
    """Takes the place of a trainer's own saves.

    A save that fails is tried once more at once, then at the next one. If the disk took none for
    ``MAX_UNSAVED_S``, or this was the last, the weights go to another disk and the run ends.
    """

    def __init__(
        self,
        worker: Worker,
        trainer: Any,
        complete: Callable[[Path, int], None],
        group: RankGroup = ALONE,
    ) -> None:
        """Wrap ``trainer``; ``complete`` finishes a checkpoint, given its folder and its step.

        All processes of ``group`` save at once, and again if one of them could not.
        """
        self._worker = worker
        self._group = group
        self._trainer = trainer
        self._complete = complete
        self._save_checkpoint = trainer._save_checkpoint
        self._failing_since: float | None = None
        trainer._save_checkpoint = self.save

    def save(self, model: Any, trial: Any) -> None:
        """Save a checkpoint as transformers does; raise EarlyEnd if the disk fails for good."""
        error = self._try(model, trial)
        if error is not None:
            time.sleep(RETRY_S)
            error = self._try(model, trial)
        if error is None:
            self._failing_since = None
            return
        state, now = self._trainer.state, time.monotonic()
        self._failing_since = self._failing_since or now
        is_last = self._trainer.control.should_training_stop or state.global_step >= state.max_steps
        if self._group.share(is_last or now - self._failing_since >= MAX_UNSAVED_S):
            self._end(error, model, trial)
        self._worker.events.write_finding(
            "unsaved",
            f"The checkpoint of step {state.global_step} could not be saved "
            f"({self._describe(error)}). Training continues; the next save tries again.",
            "warning",
            step=state.global_step,
        )

    def _try(self, model: Any, trial: Any) -> Exception | None:
        """Save once; return the error of a disk that fails, raise any other."""
        folder = Path(self._trainer.args.output_dir)
        # Complete once every process has written its part.
        return self._attempt(lambda: self._write(folder, model, trial)) or self._attempt(
            lambda: self._finish(folder)
        )

    def _attempt(self, action: Callable[[], None]) -> Exception | None:
        """Do a part of a save; return the error of a disk that fails here or in another process."""
        own: Exception | None = None
        try:
            action()
        except Exception as error:
            if classify_error(error, self._worker.folder) != "disk_error":
                raise
            own = error
        texts = self._group.gather(self._describe(own) if own else None)
        others = [text for text in texts if text]
        return own or (OSError(errno.EIO, others[0]) if others else None)

    def _write(self, folder: Path, model: Any, trial: Any) -> None:
        arguments = self._trainer.args
        usual, arguments.output_dir = arguments.output_dir, str(folder)
        try:
            self._save_checkpoint(model, trial)
        finally:
            arguments.output_dir = usual

    def _finish(self, folder: Path) -> None:
        step = self._trainer.state.global_step
        self._complete(folder / f"checkpoint-{step}", step)

    def _describe(self, error: Exception) -> str:
        return describe_error(error, self._worker.folder.checkpoints)

    def _end(self, error: Exception, model: Any, trial: Any) -> None:
        def save_there(folder: JobFolder) -> None:
            self._write(folder.checkpoints, model, trial)
            self._finish(folder.checkpoints)

        step = self._trainer.state.global_step
        rescued = rescue.save(self._worker.record, save_there) if self._group.is_first else None
        where = (
            f"The weights of step {step} are in {rescued.checkpoints}; resuming takes them back."
            if rescued
            else f"No other disk took the weights of step {step}."
        )
        raise EarlyEnd("disk_error", f"{self._describe(error)}. {where}") from error
