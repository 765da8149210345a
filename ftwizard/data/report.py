"""What is to be said of a data file: its format, its rows, and every finding with its lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from ftwizard.data.billing import Bill
from ftwizard.data.container import FileProblem
from ftwizard.data.findings import Finding
from ftwizard.data.target_names import TargetName
from ftwizard.data.targets import Severity
from ftwizard.data.tokens import Lengths, Trained


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """One row to look at: what it means (``Example``), secrets redacted, long texts clipped."""

    line: int
    example: dict[str, Any]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What ``ftwizard check --json`` prints."""

    verdict: Literal["ok", "warning", "error"]
    target: TargetName
    """Whose rules it was checked by."""
    format: str | None
    rows: int
    """Good and bad ones."""
    usable: int
    """Rows without an error."""
    unit: Literal["line", "row"]
    """What ``lines`` count: physical lines, or rows where these have no lines of their own."""
    findings: list[Finding]
    """The gravest first, then the most frequent."""
    tokens: Lengths | None
    """Of the usable rows, by the target's tokenizer; None where there is none to count with."""
    trained_tokens: Trained | None
    """Those of them that carry loss; None as ``tokens``."""
    path: str
    """The file that was read; it is what a plan names."""
    source: str | None
    """Where the file is from, in words, if it was fetched."""
    preview: list[Preview]
    """The first rows that can be read."""
    partial: bool = False
    """A first look at parts of the file: counts are of these, and lines are not known."""
    billed: Bill | None = None
    """What one epoch of a host's training is billed by; None for training here."""
    validation: Report | None = None
    """The report on the validation file."""
    notes: tuple[str, ...] = ()
    """What is to be known of the target."""


def verdict(findings: list[Finding]) -> Literal["ok", "warning", "error"]:
    """Return the word for what was found."""
    grave: set[Severity] = {one.severity for one in findings}
    return "error" if "error" in grave else "warning" if "warning" in grave else "ok"


def of_file(path: Path, problem: FileProblem, target: TargetName) -> Report:
    """Return the report on a file of which no row could be read."""
    finding = Finding(
        severity="error", code=problem.code, message=problem.message, fix=problem.hint, count=1,
        lines=list(problem.lines),
    )  # fmt: skip
    return Report(
        verdict="error", target=target, format=None, rows=0, usable=0, unit="line",
        findings=[finding], tokens=None, trained_tokens=None, path=str(path), source=None,
        preview=[],
    )  # fmt: skip
