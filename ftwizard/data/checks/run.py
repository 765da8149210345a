"""Complete check of a file: its container, every row, and all rows together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import msgspec

from ftwizard.data import formats, reader, row_preview
from ftwizard.data.checks.row_checker import RowChecker
from ftwizard.data.checks.scan import ScanResult, scan
from ftwizard.data.dedup import exact_duplicates
from ftwizard.data.documents import DataReport, RowPreview
from ftwizard.data.example import RowProblem
from ftwizard.data.findings import FileFinding, RowFinding, overall_verdict
from ftwizard.data.format_names import FORMAT_NAMES, Format, FormatChoice, TargetName
from ftwizard.data.io import chunks, inspect, records
from ftwizard.data.io.chunks import ReportProgress
from ftwizard.data.io.inspect import Container, FileProblem
from ftwizard.data.platforms import Target, default_target, get_target
from ftwizard.data.privacy.quote import quote
from ftwizard.data.tokens import counting, stats
from ftwizard.data.tokens.billing import Bill, compute_bill
from ftwizard.data.tokens.stats import TokenCounts, TokenEstimate
from ftwizard.text import format_bytes, format_count, make_visible

PREVIEW_ROWS = 100
COUNTED_BYTES = 1 << 30
"""Maximum file size for counting the tokens of every row by default; takes 15 s on one core."""
FIRST_LOOK_BYTES = 16 << 20
"""Larger files get a first report on samples."""
QUICK_BLOCKS = 8
"""Blocks of 64 KB for the immediate report; a larger sample with tokens follows."""
FIRST_ROWS = 200
"""Rows used to guess the format before all rows are read."""


class CheckOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a check."""

    format: FormatChoice = "auto"
    target: TargetName | None = None
    """Default: the target that fits the format."""
    max_length: int | None = None
    """Maximum tokens per row in local training."""
    count: Literal["exact", "estimate", "no"] | None = None
    """Count tokens of every row, of a sample, or not; default: every row up to ``COUNTED_BYTES``."""
    near: bool = True
    """Look for near-duplicates."""
    processes: int | None = None
    """Default: one per CPU core."""


class CheckedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A report and the data needed to compare its rows with another file's."""

    report: DataReport
    scanned: ScanResult
    source: tuple[Path, Container, Format, int]
    """Arguments of ``leakage.ComparedFile``."""


def check_files(
    path: Path, options: CheckOptions, *, validation: Path | None = None,
    say: ReportProgress = lambda *_: None, show: Callable[[DataReport], None] | None = None,
) -> DataReport:  # fmt: skip
    """Check a training file, and the validation file with it.

    ``say`` receives progress, ``show`` an early report on samples of a large file. Raises
    FileProblem for a file that cannot be used at all.
    """
    train = _examine_file(path, options, "train", say, show)
    options = msgspec.structs.replace(options, target=train.report.target)
    val = _examine_file(validation, options, "validation", say, None) if validation else None
    if val:
        val = _with_share_checked(val, train)
    collected = train.scanned.findings
    if val:
        for finding in exact_duplicates.find_leakage(train.scanned.hashes, val.scanned.hashes):
            collected.add_file(finding)
    if options.near:
        from ftwizard.data.dedup import leakage  # not needed for the first report

        within, between = leakage.find_near_duplicates(
            leakage.ComparedFile(*train.source), leakage.ComparedFile(*val.source) if val else None
        )
        for finding in [*within, *between]:
            collected.add_file(finding)
        if sampled := leakage.report_sampling(leakage.ComparedFile(*train.source)):
            collected.add_file(_for_all_rows(sampled, train.report.rows))
    findings = collected.for_target(get_target(train.report.target))
    worst = overall_verdict([*findings, *(val.report.findings if val else [])])
    return msgspec.structs.replace(
        train.report, findings=findings, verdict=worst, validation=val.report if val else None
    )


def _with_share_checked(validation: CheckedFile, training: CheckedFile) -> CheckedFile:
    """Return the validation file's results after comparing its size with the training file's."""
    goal = get_target(training.report.target)
    finding = _check_share(goal, validation.source[1].size, training.source[1].size)
    if finding is None:
        return validation
    validation.scanned.findings.add_file(_for_all_rows(finding, validation.report.rows))
    findings = validation.scanned.findings.for_target(goal)
    updated = msgspec.structs.replace(
        validation.report, findings=findings, verdict=overall_verdict(findings)
    )
    return msgspec.structs.replace(validation, report=updated)


def _examine_file(
    path: Path,
    options: CheckOptions,
    part: str,
    say: ReportProgress,
    show: Callable[[DataReport], None] | None,
) -> CheckedFile:
    layout = inspect.inspect(path)
    explicit = None if options.format == "auto" else options.format
    format = explicit or guess_format(path, layout, options.target)
    if show and layout.size > FIRST_LOOK_BYTES:
        for blocks in (QUICK_BLOCKS, counting.QUICK_BLOCKS):
            show(_report_on_sample(path, layout, format, options, blocks))
    while True:
        goal = get_target(options.target) if options.target else default_target(format)
        scanned = scan(
            path, layout, format, goal, exactly=not explicit, say=say, processes=options.processes
        )
        actual = explicit or _choose(scanned.tally.decide(path), options.target)
        if actual in (format, None):
            break
        format = actual  # the first rows were not typical
    if not scanned.rows:
        raise reader.no_rows_problem(path)
    if layout.columns and format == "prompt" and "prompt" not in goal.kinds:
        raise _no_answer_column(path, layout)
    counts = _count_tokens(path, layout, format, goal, options, scanned.usable, say)
    for finding in _check_file(layout, format, goal, scanned, part):
        scanned.findings.add_file(finding)
    if counts:
        for finding in stats.find_long_rows(counts, goal):
            scanned.findings.add_file(finding)
    result = _report(path, layout, format, goal, scanned, counts)
    result = msgspec.structs.replace(result, format=actual)
    source = path, layout, format, scanned.rows
    return CheckedFile(report=result, scanned=scanned, source=source)


def _report(
    path: Path, layout: Container, format: Format, goal: Target, scanned: ScanResult,
    counts: TokenCounts | None,
) -> DataReport:  # fmt: skip
    findings = scanned.findings.for_target(goal)
    return DataReport(
        verdict=overall_verdict(findings),
        target=goal.name,
        format=format,
        rows=scanned.rows,
        usable=scanned.usable,
        unit=layout.unit,
        findings=findings,
        tokens=counts.tokens if counts else None,
        trained_tokens=counts.trained if counts else None,
        path=str(path),
        source=None,
        preview=list(_preview(path, layout, format)),
        billed=_bill(goal, counts),
        notes=goal.notes,
    )


def _bill(goal: Target, counts: TokenCounts | None) -> Bill | None:
    if counts is None or not goal.hosted:
        return None
    lengths = counts.tokens
    total = TokenEstimate(value=lengths.total, low=lengths.low, high=lengths.high)
    return compute_bill(goal, total, epochs=1)


def _count_tokens(
    path: Path,
    layout: Container,
    format: Format,
    goal: Target,
    options: CheckOptions,
    rows: int,
    say: ReportProgress,
) -> TokenCounts | None:
    mode = options.count or ("exact" if layout.size <= COUNTED_BYTES else "estimate")
    if mode == "no" or not rows:
        return None
    limit = None if goal.hosted else options.max_length
    if mode == "estimate" and layout.is_plain_lines:
        return counting.estimate_tokens(path, layout, format, goal, limit)
    return counting.count_tokens(
        path, layout, format, goal, limit, say=say, processes=options.processes
    )


def _report_on_sample(
    path: Path, layout: Container, format: Format, options: CheckOptions, blocks: int
) -> DataReport:
    """Return the report on rows sampled across a file; their lines are unknown."""
    goal = get_target(options.target) if options.target else default_target(format)
    checker = RowChecker(format, goal, exactly=options.format == "auto")
    for record in chunks.sample_rows(path, layout, blocks=blocks):
        checker.take(0, record.value)
    scanned = ScanResult(checker, 0)
    counts = None
    if blocks > QUICK_BLOCKS and options.count != "no":
        limit = None if goal.hosted else options.max_length
        counts = counting.estimate_tokens(path, layout, format, goal, limit, blocks=blocks)
    result = _report(path, layout, format, goal, scanned, counts)
    findings = [msgspec.structs.replace(finding, lines=[]) for finding in result.findings]
    return msgspec.structs.replace(result, findings=findings, partial=True)


def _no_answer_column(path: Path, layout: Container) -> FileProblem:
    names = ", ".join(quote(name, 40) for name in layout.columns)
    return FileProblem(
        "missing_column",
        f"The table {make_visible(str(path))} has a prompt column but no answer column ({names}).",
        "Rename the answer column to completion.",
    )


def guess_format(path: Path, layout: Container, name: TargetName | None) -> Format:
    """Guess the format of a file from its first rows, given a target if there is one."""
    first = islice(records.read_records(path, layout), FIRST_ROWS)
    values = [value for record in first if (value := _decode(record)) is not None]
    try:
        return _choose(formats.count_formats(values).decide(path), name) or "openai-chat"
    except FileProblem:  # later rows may be clearer
        return "openai-chat"


def _decode(record: records.Record) -> Any:
    try:
        return records.decode_value(record.value)
    except RowProblem:
        return None


def _choose(decision: formats.FormatDecision, name: TargetName | None) -> Format | None:
    """Return the format to read rows in; prefer one of the target's that fits all rows."""
    if name and decision.format and decision.format not in (accepted := get_target(name).formats):
        return next((format for format in accepted if format in decision.also), decision.format)
    return decision.format


def _check_file(
    layout: Container, format: Format, goal: Target, scanned: ScanResult, part: str
) -> Iterator[FileFinding]:
    if goal.hosted and (finding := layout.find_hosting_problem(goal.bom)):
        yield _for_all_rows(finding, scanned.rows)
    # Without usable rows, rows of the wrong kind cannot be converted either.
    if format not in goal.formats and (scanned.usable or "wrong_kind" not in scanned.findings):
        yield _for_all_rows(
            RowFinding(
                "needs_conversion",
                f"the rows are {FORMAT_NAMES[format]}; {goal.words} accepts "
                + " or ".join(FORMAT_NAMES[accepted] for accepted in goal.formats),
                f"convert them: ftwizard convert DATA --target {goal.name} --out FILE",
            ),
            scanned.rows,
        )
    yield from (
        _for_all_rows(finding, scanned.rows)
        for finding in _check_size(layout, goal, scanned.rows, part)
    )
    yield from exact_duplicates.find_repeats(scanned.hashes)
    for check in scanned.file_checks:
        yield from check.findings(goal, scanned.rows)


def _check_size(layout: Container, target: Target, rows: int, part: str) -> Iterator[RowFinding]:
    """Yield violations of a target's row and byte limits; ``part`` is train or validation."""
    max_rows = target.max_validation_rows if part == "validation" else target.max_rows
    if rows < target.min_rows and part == "train":
        yield RowFinding(
            "too_few",
            f"{format_count(rows, 'row')}; {target.words} needs at least {target.min_rows}",
            "add rows; improvements usually show from about 100 good rows",
        )
    if max_rows is not None and rows > max_rows:
        yield RowFinding(
            "too_many",
            f"{format_count(rows, 'row')}; {target.words} accepts at most {max_rows:,}"
            + (" for validation" if part == "validation" else ""),
            "keep the best rows",
        )
    if target.max_bytes is not None and layout.size > target.max_bytes:
        yield RowFinding(
            "too_large",
            f"{format_bytes(layout.size)}; {target.words} accepts files up to {format_bytes(target.max_bytes)}",
            "keep the best rows",
        )


def _check_share(target: Target, validation: int, training: int) -> RowFinding | None:
    """Return a finding if the validation file is too large relative to the training file (bytes)."""
    max_share = target.max_validation_share
    if max_share is None or validation <= max_share * training:
        return None
    return RowFinding(
        "validation_share",
        f"the validation file has {format_bytes(validation)}, {validation / max(training, 1):.0%} of the "
        f"training file's {format_bytes(training)}; {target.words} accepts at most {max_share:.0%}",
        f"reduce it to {format_bytes(int(max_share * training))} or less, or use a 10% split",
    )


def _for_all_rows(finding: RowFinding, rows: int) -> FileFinding:
    return FileFinding(
        code=finding.code, message=finding.message, fix=finding.fix, count=rows, lines=[]
    )


def _preview(path: Path, layout: Container, format: Format) -> Iterator[RowPreview]:
    for record in islice(records.read_records(path, layout), PREVIEW_ROWS):
        try:
            example = formats.to_example(records.decode_value(record.value), format)
        except RowProblem:
            continue
        yield RowPreview(line=record.line, example=row_preview.redact_example(example))
