"""The child runs that a diagnosis offers: what is changed, and with whose weights they begin."""

from __future__ import annotations

from typing import NamedTuple

from ftwizard import checkpoints
from ftwizard.checkpoints import Checkpoint
from ftwizard.jobs.events import Event
from ftwizard.jobs.folder import JobFolder

SPOILS = ("overfit", "memorising", "diverged", "nan")
"""After these began, the newest weights are not worth going on from."""


class Change(NamedTuple):
    """What a child run does otherwise than its parent."""

    words: str
    options: tuple[str, ...]
    """Of ``ftwizard branch``."""
    is_anew: bool = False
    """Whether nothing that was learned so far is worth keeping."""


CHANGES = {
    "again_half_rate": Change("half the rate", ("--rate-times", "0.5")),
    "again_more_accumulation": Change("doubled accumulation", ("--accumulation-times", "2")),
    "again_half_rate_more_accumulation": Change(
        "half the rate, doubled accumulation", ("--rate-times", "0.5", "--accumulation-times", "2")
    ),
    "again_higher_rate": Change("five times the rate", ("--rate-times", "5"), is_anew=True),
    "again_ten_times_rate": Change("ten times the rate", ("--rate-times", "10"), is_anew=True),
}


class Child(NamedTuple):
    """A run that can be started: the words for it, and what ``ftwizard branch`` is told."""

    begins: str
    change: str
    options: tuple[str, ...]

    @property
    def words(self) -> str:
        return f"new run from {self.begins}: {self.change}"


def child(action: str, finding: Event, kept: list[Checkpoint], *, lives: bool) -> Child:
    """Return the run that an action on a finding starts; ``kept`` are the checkpoints on disk."""
    change = CHANGES[action]
    begin, begins = ("start", "the start") if change.is_anew else _begin(finding, kept, lives)
    return Child(begins, change.words, ("--from", begin, *change.options))


def on_disk(folder: JobFolder) -> list[Checkpoint]:
    """Return the checkpoints that ``ftwizard branch`` can begin with."""
    try:
        return checkpoints.all_complete(folder.checkpoints)
    except OSError:  # it is being removed
        return []


def _begin(finding: Event, kept: list[Checkpoint], lives: bool) -> tuple[str, str]:
    """Return where the child begins, as an option and in words: the best, else the newest."""
    if best := checkpoints.best(kept):
        return str(best.step), f"the best (step {best.step:,})"
    if finding.get("code") in SPOILS:
        since = finding.get("since")
        before = [one for one in kept if isinstance(since, int) and one.step < since]
        if not before:
            return "start", "the start"
        return str(before[-1].step), f"step {before[-1].step:,}, before it began"
    if lives:  # the stop that comes first saves one more
        return "best", "the newest checkpoint"
    if not kept:
        return "start", "the start"
    return str(kept[-1].step), f"the newest checkpoint (step {kept[-1].step:,})"
