"""Report on a data file: its format, its rows, and its findings with lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from ftwizard.data.findings import Finding
from ftwizard.data.format_names import TargetName
from ftwizard.data.io.inspect import FileProblem
from ftwizard.data.platforms import Severity
from ftwizard.data.tokens.billing import Bill
from ftwizard.data.tokens.stats import TokenLengths, TrainableTokens


class RowPreview(msgspec.Struct, frozen=True, kw_only=True):
    """One row to show, as an ``Example`` with secrets redacted and long texts truncated."""

    line: int
    example: dict[str, Any]


class DataReport(msgspec.Struct, frozen=True, kw_only=True):
    """The document that ``ftwizard check --json`` prints."""

    verdict: Literal["ok", "warning", "error"]
    target: TargetName
    """The target whose rules were applied."""
    format: str | None
    rows: int
    """All rows, good and bad."""
    usable: int
    """Rows without an error."""
    unit: Literal["line", "row"]
    """Unit of ``lines``: physical lines, or rows in files without lines."""
    findings: list[Finding]
    """Most severe first, then most frequent."""
    tokens: TokenLengths | None
    """Tokens of the usable rows, by the target's tokenizer; None without a tokenizer."""
    trained_tokens: TrainableTokens | None
    """Tokens that count toward the loss; None as ``tokens``."""
    path: str
    """The file that was read, as a plan names it."""
    source: str | None
    """Origin of the file, if it was downloaded."""
    preview: list[RowPreview]
    """The first readable rows."""
    partial: bool = False
    """Only parts of the file were read: counts cover these, and lines are unknown."""
    billed: Bill | None = None
    """Billing basis of one epoch on a hosted platform; None for local training."""
    validation: DataReport | None = None
    """The report on the validation file."""
    notes: tuple[str, ...] = ()
    """Notes about the target."""


def overall_verdict(findings: list[Finding]) -> Literal["ok", "warning", "error"]:
    """Return the overall verdict of findings."""
    severities: set[Severity] = {finding.severity for finding in findings}
    return "error" if "error" in severities else "warning" if "warning" in severities else "ok"


def report_unreadable_file(path: Path, problem: FileProblem, target: TargetName) -> DataReport:
    """Return the report on a file without a readable row."""
    finding = Finding(
        severity="error", code=problem.code, message=problem.message, fix=problem.hint, count=1,
        lines=list(problem.lines),
    )  # fmt: skip
    return DataReport(
        verdict="error", target=target, format=None, rows=0, usable=0, unit="line",
        findings=[finding], tokens=None, trained_tokens=None, path=str(path), source=None,
        preview=[],
    )  # fmt: skip
