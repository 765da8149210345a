"""State of a run as a short text."""

from __future__ import annotations

from ftwizard.runs import describe
from ftwizard.runs.store import RunStatus
from ftwizard.screens import palette
from ftwizard.text import make_visible


def describe_state(report: RunStatus) -> tuple[str, str]:
    """Return a run's state with its mark, and its style."""
    if report.state == "ended":
        style = {"finished": palette.GOOD, "early_stopped": palette.GOOD, "stopped": ""}
        text = make_visible(describe.describe_state(report), 40)
        if report.remote and report.remote.billed:
            return f"{text} · billed", palette.WARNING
        return text, style.get(report.end_reason or "lost", palette.BAD)
    if halt := describe.describe_halt(report):
        return halt, palette.WARNING
    phase = report.phase if report.state == "running" and report.phase else report.state
    if report.state == "stopping" and report.end_reason:  # done, but its process still exits
        phase = "ending"
    return f"● {describe.format_phase(phase)}", palette.ACCENT
