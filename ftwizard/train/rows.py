"""The rows of a plan: read, split, encoded, and what becomes of each said."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ftwizard import positions, samples
from ftwizard.data import read, split
from ftwizard.data.format_names import FormatChoice
from ftwizard.errors import FtwizardError
from ftwizard.jobs.worker import Worker
from ftwizard.plan import Plan
from ftwizard.text import plural, visible
from ftwizard.train import base_model
from ftwizard.train.tokenise import Encoded, Encoder, MaskError, Report, encode_rows

PROGRESS_SECONDS = 1.0
SHOWN_LINES = 1000
Rows = dict[str, list[read.Row]]
"""``train``, ``validation``, ``test`` → rows; where the plan has a ``data.mix`` also ``mix``,
general rows that are trained on beside those of ``train``."""


def load(
    plan: Plan,
    hashes: Mapping[str, str],
    say: Callable[[str, read.Table], None] = lambda part, table: None,
) -> Rows:
    """Read and split the rows; ``say`` hears what each file was read as.

    ``hashes`` are what a run began with, of the files by part and of the split. Raises
    FtwizardError for files that have changed since, or would be divided otherwise, for bad rows
    (unless the plan allows it) and for too few.
    """

    def usable(part: str, path: Path, format: FormatChoice) -> list[read.Row]:
        table = read.read(path, format)
        if table.sha256 != hashes.get(part, table.sha256):
            raise FtwizardError(
                f"{visible(table.path)} has changed since the run was started.",
                "Put the old file back and resume, or start a new run.",
            )
        found = read.usable(table, skip_bad="skip-bad-rows" in plan.allow)
        say(part, table)
        return found

    files = plan.data.files
    given = {
        part: usable(part, Path(name), plan.data.format)
        for part in ("train", "validation", "test")
        if (name := getattr(files, part))
    }
    parts = split.split(
        given.pop("train"),
        validation=plan.validation_share,
        test=plan.test_share,
        seed=plan.data.split.seed,
        group_by=plan.data.split.group_by,
    )
    rows = {"train": parts.train, "validation": parts.validation, "test": parts.test} | given
    if plan.data.mix.share:
        from ftwizard.data import mix

        general = usable("mix", samples.rows_file(plan.data.mix.rows), "auto")
        apart = [*rows["validation"], *rows["test"]]
        rows["mix"] = mix.draw(
            general, plan.data.mix.share, rows["train"], apart, plan.data.split.seed
        )
    if fingerprint(rows) != hashes.get("split", fingerprint(rows)):
        raise FtwizardError(
            "The rows would not be divided as they were when the run began: a library that divides "
            "them is of another version.",
            "Resume it where it was started, or start a new run.",
        )
    return rows


def fingerprint(rows: Rows) -> str:
    """Return a hash of which lines are in which part."""
    lines = {part: [row.line for row in rows[part]] for part in sorted(rows)}
    return hashlib.sha256(msgspec.json.encode(lines)).hexdigest()


def said_by(worker: Worker, unreadable: dict[str, int]) -> Callable[[str, read.Table], None]:
    """Return what writes into the events as what each file was read.

    How many rows of it were skipped goes into ``unreadable``.
    """

    def say(part: str, table: read.Table) -> None:
        if table.problems:
            unreadable[part] = len(table.problems)
        worker.phase(
            "reading", part=part, format=table.format, rows=len(table.rows),
            skipped=len(table.problems),
        )  # fmt: skip

    return say


def encode(
    worker: Worker, encoder: Encoder, rows: Rows, max_length: int
) -> tuple[dict[str, list[Encoded]], dict[str, Report]]:
    """Encode every part; what happens to its rows goes into the events.

    Rows of ``mix`` are returned among those of ``train``.
    """
    encoded, reports = encode_parts(encoder, rows, max_length, lambda name: _row_progress(worker))
    for name, report in reports.items():
        fields = msgspec.to_builtins(report)
        fields["lost"] = report.lost[:SHOWN_LINES]
        if name == "train":
            fields["mixed"] = reports["mix"].kept if "mix" in reports else 0
        worker.events.write("data", part=name, **fields)
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


def encode_parts(
    encoder: Encoder,
    rows: Rows,
    max_length: int,
    progress: Callable[[str], Callable[[int, int], None]],
) -> tuple[dict[str, list[Encoded]], dict[str, Report]]:
    """Return each part's rows as tokens, those of ``mix`` among ``train``'s, and what became of
    each part. ``progress`` returns what hears of a part's rows as they are done."""
    encoded: dict[str, list[Encoded]] = {}
    reports: dict[str, Report] = {}
    for name, part in rows.items():
        needed = name in ("train", "validation")
        try:
            encoded[name], reports[name] = encode_rows(
                encoder, part, max_length, progress(name), needed=needed
            )
        except MaskError as error:
            if name != "mix":
                raise
            raise MaskError(f"data.mix.rows: {error.message}", error.hint) from None
    encoded["train"] += encoded.pop("mix", [])
    return encoded, reports


def check_lengths(base: Path, encoded: Mapping[str, list[Encoded]]) -> str | None:
    """Return what is to be said where rows are longer than the model in ``base`` was made for.

    Raises FtwizardError for a row that it cannot read at all.
    """
    config = base_model.load_config(base).to_dict()
    tokens = max((len(row.input_ids) for part in encoded.values() for row in part), default=0)
    if error := positions.refusal(config, tokens, str(base)):
        raise error
    return positions.warning(config, tokens)


def say_shortage(worker: Worker, plan: Plan, rows: Rows) -> None:
    """Write into the events that there are fewer general rows than the plan asks for."""
    if message := shortage(plan, rows):
        worker.events.write("finding", code="mix_short", severity="warning", message=message)


def shortage(plan: Plan, rows: Rows) -> str | None:
    """Say that there are fewer general rows than the plan asks for; None if there are enough."""
    if "mix" not in rows:
        return None
    from ftwizard.data import mix

    return mix.shortage(len(rows["mix"]), len(rows["train"]), plan.data.mix.share)


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
