"""The rows of a plan: read, split, encoded, and what becomes of each said."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.data import read, split
from ftwizard.errors import FtwizardError
from ftwizard.jobs.worker import Worker
from ftwizard.plan import Plan
from ftwizard.text import plural, visible
from ftwizard.train.tokenise import Encoded, Encoder, Report, encode_rows

PROGRESS_SECONDS = 1.0
SHOWN_LINES = 1000
Rows = dict[str, list[read.Row]]
"""``train``, ``validation``, ``heldout`` → rows."""


def load(
    plan: Plan,
    hashes: Mapping[str, str],
    say: Callable[[str, read.Table], None] = lambda part, table: None,
) -> Rows:
    """Read and split the rows; ``say`` hears what each file was read as.

    ``hashes`` are of the files that a run began with, by part. Raises FtwizardError for files that
    have changed since, for bad rows (unless insisted on) and for too few.
    """

    def usable(part: str) -> list[read.Row]:
        table = read.read(Path(getattr(plan.data.files, part)), plan.data.format)
        if table.sha256 != hashes.get(part, table.sha256):
            raise FtwizardError(
                f"{visible(table.path)} has changed since the run was started.",
                "Put the old file back and resume, or start a new run.",
            )
        found = read.usable(table, skip_bad="skip-bad-rows" in plan.insist)
        say(part, table)
        return found

    files = plan.data.files
    parts = split.split(
        usable("train"),
        validation=plan.validation_share,
        heldout=plan.heldout_share,
        seed=plan.data.split.seed,
    )
    return {
        "train": parts.train,
        "validation": usable("validation") if files.validation else parts.validation,
        "heldout": usable("heldout") if files.heldout else parts.heldout,
    }


def said_by(worker: Worker) -> Callable[[str, read.Table], None]:
    """Return what writes into the events as what each file was read."""
    return lambda part, table: worker.phase(
        "reading", part=part, format=table.format, rows=len(table.rows)
    )


def encode(
    worker: Worker, encoder: Encoder, rows: Rows, max_length: int
) -> tuple[dict[str, list[Encoded]], dict[str, Report]]:
    """Encode every part; what happens to its rows goes into the events."""
    encoded: dict[str, list[Encoded]] = {}
    reports: dict[str, Report] = {}
    for name, part in rows.items():
        encoded[name], report = encode_rows(
            encoder, part, max_length, _row_progress(worker), needed=name != "heldout"
        )
        reports[name] = report
        fields = msgspec.to_builtins(report)
        worker.events.write("data", part=name, **fields | {"lost": report.lost[:SHOWN_LINES]})
        if report.lost:
            worker.events.write(
                "finding",
                code="rows_without_loss",
                severity="warning",
                message=f"{plural(len(report.lost), 'row')} of {report.rows:,} ({name}) have no "
                f"token to train on and are left out, the first at line {report.lost[0]}: cut to "
                f"{max_length} tokens, or every answer has the weight 0.",
            )
    if encoder.added:
        shown = ", ".join(f"“{visible(text, 40)}”" for text in sorted(encoder.added))
        worker.events.write(
            "finding",
            code="template_adds_loss",
            severity="info",
            message=f"Besides answers and their ends, the chat template trains on {shown}.",
        )
    return encoded, reports


def progress(worker: Worker, phase: str) -> Callable[..., None]:
    """Return a reporter that writes a phase event for each new ``what``, else once a second."""
    said: dict[str, Any] = {"at": time.monotonic(), "what": None}

    def report(what: str | None, **fields: Any) -> None:
        now = time.monotonic()
        if what == said["what"] and now - said["at"] < PROGRESS_SECONDS:
            return
        said.update(at=now, what=what)
        worker.phase(phase, what=what, **fields)

    return report


def _row_progress(worker: Worker) -> Callable[[int, int], None]:
    say = progress(worker, "tokenising")
    return lambda done, total: say(None, done=done, total=total, unit="rows")
