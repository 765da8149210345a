"""Child runs that a diagnosis offers: the changed settings and the starting weights."""

from __future__ import annotations

from typing import NamedTuple

from ftwizard import checkpoints
from ftwizard.checkpoints import Checkpoint
from ftwizard.jobs.events import Event
from ftwizard.jobs.folder import JobFolder

SPOILING_PATTERNS = ("overfit", "memorising", "diverged", "nan")
"""Patterns that spoil the weights from their onset on."""


class SettingsChange(NamedTuple):
    """A difference between a child run and its parent."""

    label: str
    options: tuple[str, ...]
    """Arguments of ``ftwizard branch``."""
    from_scratch: bool = False
    """Whether to discard everything trained so far."""


CHANGES = {
    "again_half_rate": SettingsChange("half the learning rate", ("--rate-times", "0.5")),
    "again_more_accumulation": SettingsChange(
        "double the gradient accumulation", ("--accumulation-times", "2")
    ),
    "again_half_rate_more_accumulation": SettingsChange(
        "half the learning rate, double the accumulation",
        ("--rate-times", "0.5", "--accumulation-times", "2"),
    ),
    "again_higher_rate": SettingsChange(
        "5× the learning rate", ("--rate-times", "5"), from_scratch=True
    ),
    "again_ten_times_rate": SettingsChange(
        "10× the learning rate", ("--rate-times", "10"), from_scratch=True
    ),
}


class ChildRun(NamedTuple):
    """A run that can be started with ``ftwizard branch``."""

    start: str
    """Where its weights come from, as text."""
    change: str
    options: tuple[str, ...]

    @property
    def label(self) -> str:
        return f"new run from {self.start}: {self.change}"


def plan_child(action: str, finding: Event, saved: list[Checkpoint], *, is_alive: bool) -> ChildRun:
    """Return the run that an action on a finding starts; ``saved`` are the checkpoints on disk."""
    change = CHANGES[action]
    if change.from_scratch:
        option, start = "start", "the start"
    else:
        option, start = _choose_start(finding, saved, is_alive)
    return ChildRun(start, change.label, ("--from", option, *change.options))


def list_checkpoints(folder: JobFolder) -> list[Checkpoint]:
    """Return the checkpoints that ``ftwizard branch`` can start from."""
    try:
        return checkpoints.all_complete(folder.checkpoints)
    except OSError:  # the run is being deleted
        return []


def _choose_start(finding: Event, saved: list[Checkpoint], is_alive: bool) -> tuple[str, str]:
    """Choose the best checkpoint, else the newest; return it as an option and as text."""
    if best := checkpoints.best(saved):
        return str(best.step), f"the best checkpoint (step {best.step:,})"
    if finding.get("code") in SPOILING_PATTERNS:
        since = finding.get("since")
        earlier = [item for item in saved if isinstance(since, int) and item.step < since]
        if not earlier:
            return "start", "the start"
        return str(earlier[-1].step), f"step {earlier[-1].step:,}, before it began"
    if is_alive:  # stopping the run first saves one more
        return "best", "the newest checkpoint"
    if not saved:
        return "start", "the start"
    return str(saved[-1].step), f"the newest checkpoint (step {saved[-1].step:,})"
