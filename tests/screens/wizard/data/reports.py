"""Handmade data reports, and a fake check command that returns them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.data.documents import DataReport, GradedFinding, ShownRow, ShownRows
from ftwizard.data.findings import Finding, sort_findings
from ftwizard.data.platforms import Severity
from ftwizard.errors import FtwizardError
from ftwizard.jobs.events import EventWriter
from ftwizard.models.hub import ModelSource
from ftwizard.models.loss_mask import MaskReport, RowMask

LENGTHS = [
    (60, 3), (90, 14), (130, 60), (190, 140), (280, 322), (410, 512), (600, 341), (870, 180),
    (1300, 112), (1900, 70), (2700, 20), (4000, 5), (5812, 2),
]  # fmt: skip


def finding(
    severity: Severity,
    code: str,
    message: str,
    lines: list[int],
    count: int = 0,
    fix: str = "mend it",
) -> Finding:
    return Finding(
        severity=severity,
        code=code,
        message=message,
        fix=fix,
        count=count or len(lines),
        lines=lines,
    )


def example(question: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": "Yes."}]
    return {
        "kind": "chat", "messages": messages, "chosen": [], "rejected": [], "label": None,
        "tools": None, "text": None, "tokens": None, "extra": {}, **more,
    }  # fmt: skip


FINDINGS = [
    finding("info", "personal_data", "an e-mail address stands in message 1", [1, 2, 30]),
    finding("warning", "conflict", "one prompt has two answers", [20, 21, 700, 701]),
    finding("warning", "duplicate", "437 of 1,800 rows repeat an earlier one",
            list(range(5, 879, 2)), count=1437),
    finding("warning", "control_char", "message 2 holds \x1b[31m three times", [4, 60, 61, 62]),
    finding("error", "invalid_json", "the JSON breaks off at column 61", [3, 8, 9, 10, 11, 1700]),
    finding("error", "needs_care", "the file begins with \u202e", [], count=1),
]  # fmt: skip
TOKENS = {
    "total": 812_345, "low": 800_112, "high": 824_310, "exact": False, "encoding": "o200k",
    "rows": 1794, "mean": 451.2, "p50": 390, "p95": 1400, "p99": 3000, "max": 5812,
    "over_limit": 153, "limit": 1024, "histogram": LENGTHS,
}  # fmt: skip
REPORT: dict[str, Any] = {
    "verdict": "error", "target": "trl-sft", "format": "openai-chat", "rows": 1800, "usable": 1794,
    "unit": "line", "findings": FINDINGS, "tokens": TOKENS,
    "trained_tokens": {"total": 402_310, "low": 396_000, "high": 408_100, "exact": False, "rows_without": 0},
    "path": "rows.jsonl", "source": None, "partial": False, "validation": None, "notes": [],
    "preview": [{"line": n, "example": example(f"question {n}?")} for n in range(1, 41)],
}  # fmt: skip


def report(path: Path | str, **changes: Any) -> DataReport:
    """Return a report on a file, with the given fields changed."""
    document = msgspec.to_builtins({**REPORT, "path": str(path), **changes})
    changed = msgspec.convert(document, DataReport)
    return msgspec.structs.replace(changed, findings=sort_findings(changed.findings))


def first_look(path: Path | str) -> DataReport:
    """Return the report of a first look at the same file."""
    findings = [
        msgspec.structs.replace(finding, count=finding.count // 3 + 1, lines=[])
        for finding in FINDINGS[2:5]
    ]
    return report(path, partial=True, rows=640, usable=638, findings=findings)


def clean(path: Path | str, **changes: Any) -> DataReport:
    """Return the report on a file without findings."""
    return report(path, **{"verdict": "ok", "usable": 1800, "findings": [], **changes})


class Command:
    """A fake ``subprocesses.run_command``: a check that a test controls, and other commands."""

    def __init__(self, answer: DataReport | FtwizardError) -> None:
        self.answer = answer
        self.first: DataReport | None = None
        """The report of the first look."""
        self.released = asyncio.Event()
        """While it is set, checks do not wait."""
        self.released.set()
        self.calls: list[tuple[str, ...]] = []
        self.canceled = 0
        self.handlers: dict[str, Callable[..., Any]] = {}

    async def __call__(self, *argv: str, progress: str | None = None) -> Any:
        self.calls.append(argv)
        if argv[0] in self.handlers:
            return self.handlers[argv[0]](*argv)
        try:
            await self._check(progress)
        except asyncio.CancelledError:
            self.canceled += 1
            raise
        if isinstance(self.answer, FtwizardError):
            raise self.answer
        return msgspec.to_builtins(self.answer)

    async def _check(self, progress: str | None) -> None:
        if self.released.is_set() or progress is None:
            return
        events = EventWriter(Path(progress), 1)
        if self.first is not None:
            events.write("report", report=msgspec.to_builtins(self.first))
        events.write("phase", phase="checking", what="rows", done=3e7, total=9e7, unit="bytes")
        events.close()
        await self.released.wait()


def show_rows(*argv: str) -> Any:
    """Answer ``show``: odd lines cannot be read, even lines hold invisible characters."""
    lines = [int(value) for name, value in pairwise(argv) if name == "--line"]
    broken = GradedFinding(
        severity="error", code="invalid_json", message="it breaks off", fix="end"
    )
    rows = [
        ShownRow(line=n, raw=f'{{"n": {n}, \x1b', findings=[broken], example=None)
        if n % 2
        else ShownRow(line=n, raw=f"raw {n}", findings=[], example=example(f"{n}: \x07\u202e"))
        for n in lines
    ]
    return msgspec.to_builtins(ShownRows(path=argv[1], rows=rows))


def mask(row: RowMask) -> Any:
    """Return the output of ``mask --row`` for a row."""
    checked = report("rows.jsonl")
    assert checked.tokens and checked.trained_tokens
    source = ModelSource(kind="hub", name="owner/m", fingerprint="", description="owner/m")
    return msgspec.to_builtins(MaskReport(
        route="template", max_length=1024, rows=1, used=1, rows_without_loss=0,
        lines_without_loss=[], used_tokens=9, end_tokens=["</s>"], cut_answers=0, doubled_bos=0,
        pad_ends_answers=False, trainable_text=[],
        summary="", path=checked.path, model=source, unreadable=0, tokens=checked.tokens,
        trained_tokens=checked.trained_tokens, findings=[], packing=None, row=row,
    ))  # fmt: skip
