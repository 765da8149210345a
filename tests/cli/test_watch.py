"""``watch`` as lines of text."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from ftwizard.cli.watch import _EventLog
from ftwizard.runs.progress import Progress


def finding(t: float, code: str, severity: str, message: str, **fields: Any) -> dict[str, Any]:
    return {
        "t": t, "kind": "finding", "attempt": 1, "code": code, "severity": severity,
        "message": message, "verdict": True, **fields,
    }  # fmt: skip


def test_mark_of_a_finding_is_that_of_its_severity_and_updates_add_no_line() -> None:
    output, progress = io.StringIO(), Progress()
    log = _EventLog(Console(file=output))
    for event in (
        finding(1, "healthy", "info", "Both losses fall.", step=5),
        finding(2, "healthy", "info", "Both losses fall, more.", step=9, update=True),
        finding(3, "overfit", "warning", "Validation loss rises.", step=20),
    ):
        progress.feed([event])
        log.show(progress)
    lines = [line.partition(" ")[2].rstrip() for line in output.getvalue().splitlines()]
    assert lines == ["· Both losses fall.", "! Validation loss rises."]
