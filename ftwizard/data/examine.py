"""The whole check of a file: its container, every row, and what is seen only over all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import msgspec

from ftwizard.data import (
    container,
    counting,
    formats,
    limits,
    ranges,
    read,
    records,
    repeats,
    report,
    shown,
    tokens,
)
from ftwizard.data.billing import Bill, billed
from ftwizard.data.checks.found import FileFound, Found
from ftwizard.data.container import Container, FileProblem
from ftwizard.data.conversation import RowProblem
from ftwizard.data.format_names import NAMES, Format, FormatChoice
from ftwizard.data.parts import Say
from ftwizard.data.quoted import quoted
from ftwizard.data.report import Preview, Report
from ftwizard.data.row_checker import RowChecker
from ftwizard.data.scan import Scanned, scan
from ftwizard.data.target_names import TargetName
from ftwizard.data.targets import Target, target, usual
from ftwizard.data.tokens import Counts, Estimate
from ftwizard.text import visible

PREVIEW_ROWS = 100
COUNTED_BYTES = 1 << 30
"""Files up to this size have the tokens of every row counted unless told otherwise: 15 s of one
processor."""
FIRST_LOOK_BYTES = 16 << 20
"""Files above this size are looked at in parts first."""
QUICK_BLOCKS = 8
"""Of 64 KB, for what is shown at once; a better look follows, with tokens."""
FIRST_ROWS = 200
"""Rows by which the format is guessed before all are tallied."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """How a file is to be checked."""

    format: FormatChoice = "auto"
    target: TargetName | None = None
    """Default: what the file looks like."""
    max_length: int | None = None
    """Tokens of a row that training here keeps."""
    count: Literal["exact", "estimate", "no"] | None = None
    """Tokens: of every row, of a sample. Default: of every row of files up to ``COUNTED_BYTES``."""
    near: bool = True
    """Near copies are looked for."""
    processes: int | None = None
    """Default: as many as processors."""


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """A report, and what it takes to compare its rows with another file's."""

    report: Report
    scanned: Scanned
    source: tuple[Path, Container, Format, int]
    """As ``copies.Source``."""


def examine(
    path: Path, asked: Asked, *, validation: Path | None = None,
    say: Say = lambda *_: None, show: Callable[[Report], None] | None = None,
) -> Report:  # fmt: skip
    """Check a file, and with it the one for validation.

    ``say`` hears how far it is, ``show`` the report on a first look at parts of a large file.
    Raises FileProblem for a file as such.
    """
    found = _one(path, asked, "train", say, show)
    asked = msgspec.structs.replace(asked, target=found.report.target)
    theirs = _one(validation, asked, "validation", say, None) if validation else None
    if theirs:
        theirs = _beside(theirs, found)
    every = found.scanned.findings
    if theirs:
        for one in repeats.between(found.scanned.facts, theirs.scanned.facts):
            every.add_file(one)
    if asked.near:
        from ftwizard.data import copies  # after the first look, which does without

        within, between = copies.find(
            copies.Source(*found.source), copies.Source(*theirs.source) if theirs else None
        )
        for one in [*within, *between]:
            every.add_file(one)
        if part := copies.sampled(copies.Source(*found.source)):
            every.add_file(_whole(part, found.report.rows))
    findings = every.listed(target(found.report.target))
    worst = report.verdict([*findings, *(theirs.report.findings if theirs else [])])
    return msgspec.structs.replace(
        found.report, findings=findings, verdict=worst, validation=theirs.report if theirs else None
    )


def _beside(validation: Examined, training: Examined) -> Examined:
    """Return what was found of the validation file, with its size beside the training file's."""
    place = target(training.report.target)
    over = list(limits.beside(place, validation.source[1].size, training.source[1].size))
    for one in over:
        validation.scanned.findings.add_file(_whole(one, validation.report.rows))
    if not over:
        return validation
    findings = validation.scanned.findings.listed(place)
    told = msgspec.structs.replace(
        validation.report, findings=findings, verdict=report.verdict(findings)
    )
    return msgspec.structs.replace(validation, report=told)


def _one(
    path: Path, asked: Asked, part: str, say: Say, show: Callable[[Report], None] | None
) -> Examined:
    what = container.inspect(path)
    demanded = None if asked.format == "auto" else asked.format
    format = demanded or guessed(path, what, asked.target)
    if show and what.size > FIRST_LOOK_BYTES:
        for blocks in (QUICK_BLOCKS, counting.FIRST_BLOCKS):
            show(_first_look(path, what, format, asked, blocks))
    while True:
        place = target(asked.target) if asked.target else usual(format)
        scanned = scan(
            path, what, format, place, exactly=not demanded, say=say, processes=asked.processes
        )
        seen = demanded or _chosen(scanned.tally.decide(path), asked.target)
        if seen in (format, None):
            break
        format = seen  # the first rows were not like most of them
    if not scanned.rows:
        raise read.no_row(path)
    if what.columns and format == "prompt" and "prompt" not in place.kinds:
        raise _no_answer(path, what)
    counts = _counts(path, what, format, place, asked, scanned.usable, say)
    for one in _of_the_whole(what, format, place, scanned, part):
        scanned.findings.add_file(one)
    if counts:
        for one in tokens.findings(counts, place):
            scanned.findings.add_file(one)
    found = _report(path, what, format, place, scanned, counts)
    found = msgspec.structs.replace(found, format=seen)
    source = path, what, format, scanned.rows
    return Examined(report=found, scanned=scanned, source=source)


def _report(
    path: Path, what: Container, format: Format, place: Target, scanned: Scanned,
    counts: Counts | None,
) -> Report:  # fmt: skip
    findings = scanned.findings.listed(place)
    return Report(
        verdict=report.verdict(findings),
        target=place.name,
        format=format,
        rows=scanned.rows,
        usable=scanned.usable,
        unit=what.unit,
        findings=findings,
        tokens=counts.tokens if counts else None,
        trained_tokens=counts.trained if counts else None,
        path=str(path),
        source=None,
        preview=list(_preview(path, what, format)),
        billed=_bill(place, counts),
        notes=place.notes,
    )


def _bill(place: Target, counts: Counts | None) -> Bill | None:
    if counts is None or not place.hosted:
        return None
    found = counts.tokens
    return billed(place, Estimate(value=found.total, low=found.low, high=found.high), epochs=1)


def _counts(
    path: Path, what: Container, format: Format, place: Target, asked: Asked, rows: int, say: Say
) -> Counts | None:
    how = asked.count or ("exact" if what.size <= COUNTED_BYTES else "estimate")
    if how == "no" or not rows:
        return None
    limit = None if place.hosted else asked.max_length
    if how == "estimate" and what.plain:
        return counting.estimated(path, what, format, place, limit)
    return counting.exact(path, what, format, place, limit, say=say, processes=asked.processes)


def _first_look(path: Path, what: Container, format: Format, asked: Asked, blocks: int) -> Report:
    """Return the report on rows from all over a file; their lines are not known."""
    place = target(asked.target) if asked.target else usual(format)
    checker = RowChecker(format, place, exactly=asked.format == "auto")
    for one in ranges.sample(path, what, blocks=blocks):
        if isinstance(one.value, bytes):
            checker.take_line(0, one.value)
        else:
            checker.take(0, one.value)
    seen = Scanned(checker, 0)
    counts = None
    if blocks > QUICK_BLOCKS and asked.count != "no":
        limit = None if place.hosted else asked.max_length
        counts = counting.estimated(path, what, format, place, limit, blocks=blocks)
    found = _report(path, what, format, place, seen, counts)
    findings = [msgspec.structs.replace(one, lines=[]) for one in found.findings]
    return msgspec.structs.replace(found, findings=findings, partial=True)


def _no_answer(path: Path, what: Container) -> FileProblem:
    names = ", ".join(quoted(name, 40) for name in what.columns)
    return FileProblem(
        "missing_column",
        f"The table {visible(str(path))} has the columns {names}: a prompt, and no answer to it.",
        "Name the column of the answers completion.",
    )


def guessed(path: Path, what: Container, name: TargetName | None) -> Format:
    """Return the format that the first rows of a file have, for a target where one is named."""
    first = islice(records.records(path, what), FIRST_ROWS)
    values = [value for record in first if (value := _value(record)) is not None]
    try:
        return _chosen(formats.tally(values).decide(path), name) or "openai-chat"
    except FileProblem:  # the rest of the rows may be clearer
        return "openai-chat"


def _value(record: records.Record) -> Any:
    try:
        return records.decoded(record)
    except RowProblem:
        return None


def _chosen(decision: formats.Decision, name: TargetName | None) -> Format | None:
    """Return the format that rows are read in: of those that all of them fit, the target's."""
    if name and decision.format and decision.format not in (taken := target(name).formats):
        return next((one for one in taken if one in decision.also), decision.format)
    return decision.format


def _of_the_whole(
    what: Container, format: Format, place: Target, scanned: Scanned, part: str
) -> Iterator[FileFound]:
    if place.hosted and (found := what.hosted_ready(place.bom)):
        yield _whole(found, scanned.rows)
    if format not in place.formats:
        yield _whole(
            Found(
                "needs_conversion",
                f"the rows are {NAMES[format]}; {place.words} takes "
                + " or ".join(NAMES[one] for one in place.formats),
                f"convert them: ftwizard convert DATA --target {place.name} --out FILE",
            ),
            scanned.rows,
        )
    yield from (
        _whole(one, scanned.rows) for one in limits.of_file(what, place, scanned.rows, part)
    )
    yield from repeats.within(scanned.facts)
    for shape in scanned.shapes:
        yield from shape.found(place, scanned.rows)


def _whole(found: Found, rows: int) -> FileFound:
    return FileFound(code=found.code, message=found.message, fix=found.fix, count=rows, lines=[])


def _preview(path: Path, what: Container, format: Format) -> Iterator[Preview]:
    for record in islice(records.records(path, what), PREVIEW_ROWS):
        try:
            example = formats.example(records.decoded(record), format)
        except RowProblem:
            continue
        yield Preview(line=record.line, example=shown.example(example))
