"""Findings of a live diagnosis: what is written to the events as a curve grows."""

from __future__ import annotations

import sys
import traceback
from typing import Any, Protocol

from ftwizard.diagnosis import CurveVerdict, DiagnosisFinding, to_findings

MIN_LOGS = 10
"""Logged steps before the first diagnosis."""
GROWTH_FACTOR = 1.05
"""Between evaluations, diagnose again when the log has grown by this factor, which keeps the cost
proportional to the run."""


class FindingWriter(Protocol):
    """What findings are written to: the events of a run, or those of a view."""

    def write_finding(
        self, code: str, message: str, severity: str = "info", **fields: Any
    ) -> None: ...


class DiagnosisWriter:
    """Writes a finding whenever the verdict on a run's curve changes or adds a warning.

    A new warning is reported at once. A healthy verdict, or one reported before, must hold for two
    diagnoses in a row, so that noise does not toggle it. A verdict that stands is updated, so that
    its figures never lag behind the curve.
    """

    def __init__(self, events: FindingWriter) -> None:
        self._events = events
        self._reported: set[str] = set()
        self._verdict: str | None = None
        self._message = ""
        """The newest message of that verdict."""
        self._previous: str | None = None
        self._next = MIN_LOGS
        self.last: CurveVerdict | None = None
        """The newest verdict."""

    def is_due(self, logged: int) -> bool:
        """Return whether to diagnose between evaluations, after so many logged steps."""
        return logged >= self._next

    def plan_next(self, logged: int) -> None:
        """Set after how many logged steps the next diagnosis is due."""
        self._next = max(self._next + 1, int(logged * GROWTH_FACTOR) + 1)

    def report(self, step: int, verdict: CurveVerdict) -> None:
        """Write what is new in the newest verdict."""
        self._report(step, verdict, is_last=False)
        self.last, self._previous = verdict, verdict.pattern

    def report_end(self, step: int) -> None:
        """Write the last verdict as final."""
        if self.last is not None:
            self._report(step, self.last, is_last=True)

    def report_failure(self, error: Exception) -> None:
        """Write once that a diagnosis failed, which must not end a run."""
        if "diagnosis_failed" in self._reported:
            return
        self._reported.add("diagnosis_failed")
        traceback.print_exception(error, file=sys.stderr)
        message = f"Diagnosis failed: {type(error).__name__}: {error}"[:500]
        self._events.write_finding("diagnosis_failed", message)

    def _report(self, step: int, verdict: CurveVerdict, *, is_last: bool) -> None:
        main, *others = to_findings(verdict)
        is_new = main.severity != "info" and main.code not in self._reported
        is_stable = is_new or is_last or verdict.pattern == self._previous
        is_update = verdict.pattern == self._verdict
        if main.message != self._message if is_update else is_stable or self._verdict is None:
            self._verdict, self._message = verdict.pattern, main.message
            self._write(step, verdict, main, is_verdict=True, is_update=is_update)
        for finding in (main, *others):
            if finding.code not in self._reported and finding.severity != "info":
                self._write(step, verdict, finding, is_verdict=False)

    def _write(
        self,
        step: int,
        verdict: CurveVerdict,
        finding: DiagnosisFinding,
        *,
        is_verdict: bool,
        is_update: bool = False,
    ) -> None:
        self._reported.add(finding.code)
        self._events.write_finding(
            finding.code,
            finding.message,
            finding.severity,
            step=step,
            since=finding.step,
            action=finding.action,
            actions=list(finding.actions),
            confidence=finding.confidence,
            evidence=finding.evidence,
            best_step=verdict.best_step,
            best_on_disk=verdict.best_on_disk,
            verdict=is_verdict,
            update=is_update,
        )
