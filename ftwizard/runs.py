"""Runs: found by id, and what their events say so far."""

from __future__ import annotations

import difflib
import math
import time
from collections import deque
from pathlib import Path

import msgspec

from ftwizard import settings
from ftwizard.errors import FtwizardError
from ftwizard.jobs.events import Event, EventReader, number
from ftwizard.jobs.folder import JobFolder, is_id
from ftwizard.jobs.status import Status, observe
from ftwizard.text import visible

RATE_WINDOW = 50
"""Steps over which speed and time left are measured."""


class RunStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What ``ftwizard status --json`` prints; None where unknown."""

    id: str
    state: str
    end_reason: str | None
    attempt: int
    phase: str | None
    step: int | None
    total_steps: int | None
    epoch: float | None
    loss: float | None
    eval_loss: float | None
    best_step: int | None
    best_eval_loss: float | None
    tokens_per_s: float | None
    eta_s: float | None
    started: float | None
    updated: float | None
    folder: str


class Progress:
    """What a run's events add up to; feed it events in order.

    A resumed attempt replays steps: what an older attempt wrote beyond the point where the new
    one begins is forgotten, and the last value a step counts.
    """

    def __init__(self) -> None:
        self.phase: str | None = None
        self.what: str | None = None
        self.done: float | None = None
        self.total: float | None = None
        self.unit = ""
        self.phases: list[str] = []
        self.attempt = 0
        self.step: int | None = None
        self.total_steps: int | None = None
        self.epoch: float | None = None
        self.updated: float | None = None
        self.losses: dict[int, float] = {}
        self.evaluations: dict[int, float] = {}
        self.checkpoints: dict[int, float | None] = {}
        self.findings: list[Event] = []
        self.longest_step_s = 0.0
        self.save_s = 0.0
        self._recent: deque[tuple[float, int, float]] = deque(maxlen=RATE_WINDOW)

    def feed(self, events: list[Event]) -> None:
        for event in events:
            self._see(event)

    def _see(self, event: Event) -> None:
        self.updated = event["t"]
        if event.get("attempt", 0) != self.attempt:
            self.attempt = event.get("attempt", 0)
            self._recent.clear()
            self.phases.clear()
            self.findings.clear()
        kind, step = event["kind"], event.get("step")
        if kind == "phase":
            self._see_phase(event)
        elif kind == "log" and isinstance(step, int):
            self._see_step(event, step)
        elif kind == "eval" and isinstance(step, int):
            self._enter("training")
            loss = number(event.get("eval_loss"))
            if loss is not None:
                self.evaluations[step] = loss
        elif kind == "checkpoint" and isinstance(step, int):
            self.checkpoints[step] = number(event.get("eval_loss"))
            self.save_s = max(self.save_s, number(event.get("seconds")) or 0.0)
        elif kind == "finding":
            self.findings.append(event)

    def _see_phase(self, event: Event) -> None:
        self._enter(str(event.get("phase")))
        self.what = event.get("what")
        self.done, self.total = number(event.get("done")), number(event.get("total"))
        self.unit = str(event.get("unit", ""))
        if self.phase == "training":
            start = event.get("step", 0)
            self.step, self.total_steps = start, event.get("total")
            for series in (self.losses, self.evaluations, self.checkpoints):
                for later in [step for step in series if step > start]:
                    del series[later]

    def _see_step(self, event: Event, step: int) -> None:
        self._enter("training")
        self.step = step
        self.epoch = number(event.get("epoch"))
        loss = number(event.get("loss"))
        if loss is not None:
            self.losses[step] = loss
        if self._recent:
            self.longest_step_s = max(self.longest_step_s, event["t"] - self._recent[-1][0])
        self._recent.append((event["t"], step, number(event.get("tokens")) or 0.0))

    def _enter(self, phase: str) -> None:
        if phase != self.phase:
            self.phase = phase
            self.what = self.done = self.total = None
        if phase not in self.phases:
            self.phases.append(phase)

    @property
    def loss(self) -> float | None:
        return self.losses[max(self.losses)] if self.losses else None

    @property
    def eval_loss(self) -> float | None:
        return self.evaluations[max(self.evaluations)] if self.evaluations else None

    @property
    def best_step(self) -> int | None:
        """Return the step of the lowest validation loss."""
        finite = {s: v for s, v in self.evaluations.items() if math.isfinite(v)}
        return min(finite, key=lambda s: (finite[s], s)) if finite else None

    @property
    def tokens_per_s(self) -> float | None:
        seconds, _, tokens = self._window()
        return tokens / seconds if seconds > 0 and tokens > 0 else None

    @property
    def eta_s(self) -> float | None:
        """Return the seconds until the last step, evaluations included, at the recent speed."""
        seconds, steps, _ = self._window()
        if not steps or self.step is None or not self.total_steps:
            return None
        return max(0.0, (self.total_steps - self.step) * seconds / steps)

    @property
    def stop_grace_s(self) -> float:
        """Return how long a stop may need to finish its step and save."""
        return max(30.0, 3 * self.save_s + self.longest_step_s)

    def _window(self) -> tuple[float, int, float]:
        if len(self._recent) < 2:
            return 0.0, 0, 0.0
        first, last = self._recent[0], self._recent[-1]
        return last[0] - first[0], last[1] - first[1], last[2] - first[2]


def find(run: str) -> JobFolder:
    """Return the folder of a run given by id, unique beginning of an id, or path.

    Raises FtwizardError that names the nearest.
    """
    root = settings.runs_folder()
    path = Path(run)
    if "/" in run and (path / "job.json").exists():
        return JobFolder(path.absolute())
    ids = [folder.id for folder in all_runs()]
    if run in ids:
        return JobFolder(root / run)
    begun = [one for one in ids if one.startswith(run)] if run else []
    if len(begun) == 1:
        return JobFolder(root / begun[0])
    if begun:
        raise FtwizardError(
            f"“{visible(run, 70)}” begins {len(begun)} runs.", f"Which one: {', '.join(begun[:5])}?"
        )
    near = difflib.get_close_matches(run, ids, 1)
    hint = f"Did you mean {near[0]}?" if near else "List them with: ftwizard runs"
    raise FtwizardError(f"There is no run “{visible(run, 70)}” in {root}.", hint)


def all_runs() -> list[JobFolder]:
    """Return every run, oldest first."""
    root = settings.runs_folder()
    if not root.is_dir():
        return []
    found = [
        JobFolder(path)
        for path in root.iterdir()
        if is_id(path.name) and (path / "job.json").is_file()
    ]
    return sorted(found, key=lambda folder: (folder.job.stat().st_mtime, folder.id))


def progress(folder: JobFolder) -> Progress:
    """Read all of a run's events."""
    read = Progress()
    read.feed(EventReader(folder.events).read())
    return read


def status(folder: JobFolder) -> RunStatus:
    """Look at a run."""
    return report(folder, observe(folder), progress(folder))


def report(folder: JobFolder, job: Status, so_far: Progress) -> RunStatus:
    """Put a job's state and its progress together."""
    living = job.state != "ended"
    best = so_far.best_step
    return RunStatus(
        id=folder.id,
        state=job.state,
        end_reason=job.end_reason,
        attempt=job.attempt,
        phase=so_far.phase,
        step=so_far.step,
        total_steps=so_far.total_steps,
        epoch=so_far.epoch,
        loss=_finite(so_far.loss),
        eval_loss=_finite(so_far.eval_loss),
        best_step=best,
        best_eval_loss=None if best is None else so_far.evaluations[best],
        tokens_per_s=so_far.tokens_per_s,
        eta_s=so_far.eta_s if living and so_far.phase in ("training", "evaluating") else None,
        started=job.started,
        updated=so_far.updated,
        folder=str(folder.path),
    )


def new_id(name: str) -> str:
    """Return an id for a new run, from a name and the time: ``tickets-1124-1432``."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name)
    stem = plain.strip("-_.")[:40] or "run"
    return f"{stem}-{time.strftime('%m%d-%H%M%S')}"


def _finite(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None
