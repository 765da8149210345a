"""Runs: found by id, and what their events say so far."""

from __future__ import annotations

import difflib
import math
import stat
import time
from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from ftwizard import file_names, settings
from ftwizard.errors import FtwizardError
from ftwizard.jobs.events import (
    UNREADABLE,
    Event,
    EventReader,
    TimeAlive,
    count,
    measure,
    moment,
    number,
)  # fmt: skip
from ftwizard.jobs.folder import JobFolder, Parent, is_id
from ftwizard.jobs.status import Status, observe
from ftwizard.series import Series, Smoothed
from ftwizard.text import visible

ACTIVE = ("training", "evaluating", "saving")
"""Phases of the training itself."""
RATE_WINDOW = 50
"""Steps over which speed and time left are measured."""
NO_METRIC = frozenset(("v", "t", "kind", "attempt", "step"))
MOST_METRICS = 64
"""A run that reports more numbers than these has the rest left out."""
MOST_PROMPTS = 64
MOST_ANSWERS = 400
"""Answers to one prompt that are kept: the first, and the newest."""
KEPT_ROWS = 8
"""Of the newest evaluations, so that a resumed run still has one."""
MOST_GRACE_S = 4 * 3600.0
"""No stop waits longer than this, whatever a run's clock made of its steps."""


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
    parent: Parent | msgspec.UnsetType = msgspec.UNSET
    """The run that it was branched from."""


class Progress:
    """What a run's events add up to; feed it events in order.

    A resumed attempt replays steps: what an older attempt wrote beyond the point where the new
    one begins is forgotten, and the last value a step counts. A field that is not what it should
    be is as if it were not there: events may come from another version, or from anybody.
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
        self.vocabulary: int | None = None
        """Tokens that the model chooses among."""
        self.accumulation: int | None = None
        """Micro-batches a step."""
        self.epoch: float | None = None
        self.updated: float | None = None
        self.loss: float | None = None
        """The newest training loss; NaN or infinite as it came."""
        self.eval_loss: float | None = None
        self.learning_rate: float | None = None
        self.memory: float | None = None
        """The most bytes that the training has held so far."""
        self.gpu_memory: float | None = None
        """The same where it is a GPU's; None on the processors, and where that is not told."""
        self.grad_norm: float | None = None
        self.best_step: int | None = None
        """The step of the lowest validation loss, the first of equals."""
        self.best_eval_loss: float | None = None
        self.metrics: dict[str, Series] = {"loss": Series(), "eval_loss": Series()}
        """Every number that steps and evaluations report, by name, over steps."""
        self.times = Series()
        """When each step was reported, in Unix seconds, over steps."""
        self.smoothed = Smoothed()
        """The training loss, smoothed."""
        self.checkpoints: dict[int, float | None] = {}
        self.findings: list[Event] = []
        self.samples: dict[int, list[Event]] = {}
        """``sample`` events of each fixed prompt by its index, oldest first."""
        self._hardest: deque[Event] = deque(maxlen=KEPT_ROWS)
        self.alive = TimeAlive()
        self.training = TimeAlive()
        """The part of it in phases that are ``ACTIVE``."""
        self.longest_step_s = 0.0
        self.save_s = 0.0
        self._recent: deque[tuple[float, int, float]] = deque(maxlen=RATE_WINDOW)

    @property
    def losses(self) -> Series:
        """Return the training loss over steps."""
        return self.metrics["loss"]

    @property
    def hardest(self) -> Event | None:
        """Return the newest ``rows`` event: the hardest validation rows, worst first."""
        return self._hardest[-1] if self._hardest else None

    @property
    def evaluations(self) -> Series:
        """Return the validation loss over steps."""
        return self.metrics["eval_loss"]

    def feed(self, events: list[Event]) -> None:
        for event in events:
            self._see(event)

    def _see(self, event: Event) -> None:
        now = moment(event)
        if now is None:
            return
        self.updated = now
        attempt = count(event.get("attempt", 0))
        self.alive.see(attempt, now)
        self._see_attempt(attempt)
        self._see_kind(event, now)
        if self.phase in ACTIVE:
            self.training.see(attempt, now)

    def _see_kind(self, event: Event, now: float) -> None:
        kind, step = event.get("kind"), count(event.get("step"))
        if kind == "phase":
            self._see_phase(event)
        elif kind == "finding":
            known = step is not None or "step" not in event
            self.findings.append(event if known else {**event, "step": None})
        elif step is None:
            return
        elif kind == "log":
            self._see_step(event, step, now)
        elif kind == "eval":
            self._enter("training")
            self._see_evaluation(event, step, number(event.get("eval_loss")))
        elif kind == "checkpoint":
            self.checkpoints[step] = number(event.get("eval_loss"))
            self.save_s = max(self.save_s, measure(event.get("seconds")) or 0.0)
        elif kind == "sample":
            self._enter("training")
            self._see_sample(event, step)
        elif kind == "rows" and isinstance(rows := event.get("rows"), list):
            self._forget_rows_after(step - 1)
            kept = [one for one in rows if isinstance(one, dict)]
            self._hardest.append({**event, "step": step, "rows": kept})

    def _see_attempt(self, attempt: int | None) -> None:
        if attempt is None or attempt == self.attempt:
            return
        self.attempt = attempt
        self._recent.clear()
        self.phases.clear()
        self.findings.clear()

    def _see_phase(self, event: Event) -> None:
        phase, what, unit = event.get("phase"), event.get("what"), event.get("unit")
        if not isinstance(phase, str):
            return
        self._enter(phase)
        self.what = what if isinstance(what, str) else None
        self.done, self.total = measure(event.get("done")), measure(event.get("total"))
        self.unit = unit if isinstance(unit, str) else ""
        start = count(event.get("step", 0))
        if self.phase == "training" and start is not None:
            self.step, self.total_steps = start, count(event.get("total"))
            self.vocabulary = count(event.get("vocabulary"))
            self.accumulation = count(event.get("accumulation"))
            self._forget_after(start)

    def _see_step(self, event: Event, step: int, now: float) -> None:
        self._enter("training")
        self.step = step
        self.epoch = measure(event.get("epoch"))
        self.learning_rate = number(event.get("learning_rate"))
        self.grad_norm = number(event.get("grad_norm"))
        self.memory = measure(event.get("memory")) or self.memory
        self.gpu_memory = self.memory if event.get("memory_on_gpu") is True else None
        if step < (self.times.last_x or 0.0):  # a replay without its phase
            self._forget_after(step)
        self.times.append(step, now)
        self._keep_numbers(event, step)
        loss = number(event.get("loss"))
        if loss is not None:
            self.loss = loss
            self.smoothed.append(step, loss)
        if self._recent:
            self.longest_step_s = max(self.longest_step_s, now - self._recent[-1][0])
        self._recent.append((now, step, measure(event.get("tokens")) or 0.0))

    def _see_evaluation(self, event: Event, step: int, loss: float | None) -> None:
        if step < (self.evaluations.last_x or 0.0):
            self._forget_after(step)
        self._keep_numbers(event, step)
        if loss is None:
            return
        self.eval_loss = loss
        if math.isfinite(loss) and (self.best_eval_loss is None or loss < self.best_eval_loss):
            self.best_step, self.best_eval_loss = step, loss

    def _see_sample(self, event: Event, step: int) -> None:
        index = count(event.get("index"))
        if index is None or not isinstance(event.get("answer"), str):
            return
        if index not in self.samples and len(self.samples) >= MOST_PROMPTS:
            return
        known = self.samples.setdefault(index, [])
        known[:] = [one for one in known if one["step"] < step]
        known.append({**event, "step": step})
        if len(known) > MOST_ANSWERS:
            del known[1]

    def _keep_numbers(self, event: Event, step: int) -> None:
        for name, said in event.items():
            if name in NO_METRIC or (value := number(said)) is None:
                continue
            series = self.metrics.get(name)
            if series is None:
                if len(self.metrics) >= MOST_METRICS:
                    continue
                series = self.metrics[name] = Series()
            if step < (series.last_x or 0.0):
                series.cut_after(step)
            series.append(step, value)

    def _forget_after(self, step: int) -> None:
        """Take back what an older attempt did beyond ``step``."""
        for series in (*self.metrics.values(), self.times, self.smoothed):
            series.cut_after(step)
        for later in [known for known in self.checkpoints if known > step]:
            del self.checkpoints[later]
        for answers in self.samples.values():
            answers[:] = [one for one in answers if one["step"] <= step]
        self._forget_rows_after(step)
        if self.best_step is not None and self.best_step > step:
            points = self.evaluations.points(0, step)
            best = min(((y, x) for x, y in points if math.isfinite(y)), default=None)
            self.best_eval_loss, self.best_step = (best[0], int(best[1])) if best else (None, None)
        self.loss = self.losses[-1][1] if self.losses else None
        self.eval_loss = self.evaluations[-1][1] if self.evaluations else None

    def _forget_rows_after(self, step: int) -> None:
        while self._hardest and self._hardest[-1]["step"] > step:
            self._hardest.pop()

    def _enter(self, phase: str) -> None:
        if phase != self.phase:
            self.phase = phase
            self.what = self.done = self.total = None
        if phase not in self.phases:
            self.phases.append(phase)

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
        return min(max(30.0, 3 * self.save_s + self.longest_step_s), MOST_GRACE_S)

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
    if "/" in run and file_names.exists(path / "job.json"):
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
    """Return every run that can be looked at, oldest first."""
    root = settings.runs_folder()
    if not root.is_dir():
        return []
    found: list[tuple[float, str]] = []
    for path in root.iterdir():
        try:
            job = (path / "job.json").stat()
        except OSError:  # no run, one that is being removed, or another user's
            continue
        if is_id(path.name) and stat.S_ISREG(job.st_mode):
            found.append((job.st_mtime, path.name))
    return [JobFolder(root / name) for _, name in sorted(found)]


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
        best_step=so_far.best_step,
        best_eval_loss=so_far.best_eval_loss,
        tokens_per_s=so_far.tokens_per_s,
        eta_s=so_far.eta_s if living and so_far.phase in ("training", "evaluating") else None,
        started=job.started,
        updated=so_far.updated,
        folder=str(folder.path),
        parent=parent(folder) or msgspec.UNSET,
    )


def parent(folder: JobFolder) -> Parent | None:
    """Return the run that a run was branched from; None also where that cannot be read."""
    try:
        return folder.read_job().parent
    except (OSError, FtwizardError):
        return None


def result(folder: JobFolder) -> dict[str, Any]:
    """Return ``result.json`` of the newest attempt, empty before there is one that can be read."""
    try:
        found = msgspec.json.decode(folder.result.read_bytes(), type=dict[str, Any])
    except (OSError, *UNREADABLE):
        return {}
    return found if found.get("attempt") == folder.newest_attempt() else {}


def trained(folder: JobFolder) -> dict[str, Any]:
    """Return ``trained.json``, empty before there is one that can be read."""
    try:
        return msgspec.json.decode(folder.trained.read_bytes(), type=dict[str, Any])
    except (OSError, *UNREADABLE):
        return {}


def new_id(name: str) -> str:
    """Return an id for a new run, from a name and the time: ``tickets-1124-1432``."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name)
    stem = plain.strip("-_.")[:40] or "run"
    return f"{stem}-{time.strftime('%m%d-%H%M%S')}"


def _finite(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None
