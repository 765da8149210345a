"""Follower of a curve in files of another tool: the same views and diagnosis as for a run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.diagnosis import Curve, diagnose
from ftwizard.jobs.events import Event
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import Status
from ftwizard.runs import loss_curves
from ftwizard.runs.curve_sources import CurveSource
from ftwizard.runs.diagnosis_writer import DiagnosisWriter
from ftwizard.runs.follower import SLICE_BYTES, Follower, Sample
from ftwizard.runs.progress import Progress
from ftwizard.runs.store import RunStatus
from ftwizard.text import format_age, make_visible

QUIET_S = 600.0
"""Time without a change from which a training counts as not going on."""
_NO_FOLDER = Path("/proc/0")
"""A folder that never exists and that nobody can create: such a curve has none."""


class CurveFollower(Follower):
    """Follows a curve; the files are only read, and nothing is kept of them."""

    def __init__(self, source: CurveSource) -> None:
        self.source = source
        name = source.path.name or "curve"
        super().__init__(JobFolder(_NO_FOLDER / name))
        self.origin = "file"
        self._generation = source.generation
        self._begin()

    def _begin(self) -> None:
        """Forget what was read: the files were written again."""
        self.progress = Progress()
        self._thin = Progress(is_summary=True)
        """What the diagnosis reads, bounded however long the curve is."""
        self._total_steps: int | None = None
        self._findings = _Findings()
        self._diagnosis = DiagnosisWriter(self._findings)
        self._diagnosed_evals = 0
        self._is_end_diagnosed = False
        self._checkpoints: set[int] = set()

    @property
    def changed_s(self) -> float | None:
        """Return the seconds since a file last changed."""
        changed = self.source.read_changed()
        return None if changed is None else max(0.0, time.time() - changed)

    @property
    def is_quiet(self) -> bool:
        """Return whether the training seems not to go on."""
        return self.changed_s is None or self.changed_s > QUIET_S

    @property
    def run_status(self) -> RunStatus:
        status = msgspec.structs.replace(super().run_status, folder=str(self.source.path))
        return msgspec.structs.replace(status, eta_s=None) if self.is_quiet else status

    @property
    def torn(self) -> int:
        return 0  # ``source.damage`` says what could not be read

    def read_state(self, *, asks_slurm: bool = True) -> None:
        changed = self.source.read_changed()
        self.is_gone = changed is None
        self.source.refresh()
        if not self.source.is_complete:
            self.status = Status(state="running", attempt=1)
            return
        code = self.source.exit_code
        self.status = Status(
            state="ended",
            attempt=1,
            end_reason="crashed" if code else "finished",
            message=f"Its script ended with exit code {code}." if code else "",
            ended=changed,
        )

    def read(self, budget_s: float) -> bool:
        """Read new values for about ``budget_s`` seconds; return whether more remain."""
        end = time.perf_counter() + budget_s
        while True:
            try:
                events = self.source.read(SLICE_BYTES)
            except OSError:
                return False
            if self.source.generation != self._generation:
                self._generation = self.source.generation
                self._begin()
            if events:
                self._feed(self._announce(events[0]) + events)
            elif not self.source.has_more:
                self._finish_reading()
                return False
            if time.perf_counter() >= end:
                return True

    def read_all(self) -> None:
        """Read everything there is now."""
        while self.read(1.0):
            pass

    def curve(self) -> Curve:
        """Return the curve read so far; of a long one, thinned."""
        return loss_curves.from_progress(self._thin)

    def machine(self) -> list[Sample]:
        return []

    def log(self, lines: int) -> list[str]:
        return []

    def _announce(self, first: Event) -> list[Event]:
        """Return the beginning of the training, where the number of its steps is new."""
        total = self.source.total_steps
        if self.progress.phase and total == self._total_steps:
            return []
        self._total_steps = total
        step = self.progress.step
        begin = {
            "kind": "phase",
            "phase": "training",
            "t": first["t"],
            "attempt": 1,
            "total": total,
        }
        return [begin if step is None else {**begin, "step": step}]

    def _feed(self, events: list[Event]) -> None:
        self.progress.feed(events)
        self._thin.feed(events)

    def _finish_reading(self) -> None:
        """Add checkpoints and findings once everything new was read."""
        last = self.progress.updated
        if last is None:
            return
        steps = set(self.source.list_checkpoints()) - self._checkpoints
        self._checkpoints |= steps
        self._feed(
            [
                {"kind": "checkpoint", "step": step, "t": last, "attempt": 1}
                for step in sorted(steps)
            ]
        )
        self._diagnose(last)

    def _diagnose(self, t: float) -> None:
        """Diagnose at each new evaluation, between them as the log grows, and once it is complete."""
        thin, logged = self._thin, len(self.progress.losses)
        evals = len(self.progress.evaluations)
        is_end = self.source.is_complete and not self._is_end_diagnosed
        is_new = is_end or evals != self._diagnosed_evals
        if not is_new and not self._diagnosis.is_due(logged):
            return
        self._diagnosed_evals, self._is_end_diagnosed = evals, self.source.is_complete
        self._diagnosis.plan_next(logged)
        try:
            verdict = diagnose(self.curve())
        except Exception as error:  # noqa: BLE001 (a curve that cannot be judged can still be shown)
            self._diagnosis.report_failure(error)
        else:
            self._diagnosis.report(thin.step or 0, verdict)
            if self.source.is_complete:
                self._diagnosis.report_end(thin.step or 0)
        self._feed(self._findings.take(t))


class _Findings:
    """Findings of a view, on their way into its progress."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def write_finding(self, code: str, message: str, severity: str = "info", **fields: Any) -> None:
        self._events.append(
            {"kind": "finding", "code": code, "severity": severity, "message": message, **fields}
        )

    def take(self, t: float) -> list[Event]:
        events, self._events = self._events, []
        return [{**event, "t": t, "attempt": 1} for event in events]


def _shorten(path: Path) -> str:
    """Return a path relative to the current folder, if it is in there."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):  # elsewhere, or the current folder was deleted
        return str(path)


def describe_source(follower: CurveFollower) -> list[str]:
    """Describe where a curve is from and how current it is, a line each."""
    source, age = follower.source, follower.changed_s
    lines = [f"· {source.kind}: {make_visible(_shorten(source.path), 200)}"]
    if age is not None and not source.is_complete and follower.is_quiet:
        lines.append(f"· Not changed for {format_age(age)}. It is read again when it changes.")
    if source.damage:
        lines.append(f"! {source.damage}")
    return lines
