"""Complete check of a file: its container, every row, and all rows together."""

from __future__ import annotations

import contextlib
import functools
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from ftwizard.data import formats, reader, row_preview
from ftwizard.data.checks import subject_facts
from ftwizard.data.checks.row_checker import Collectors, RowChecker, RowCollector
from ftwizard.data.checks.scan import FileScan
from ftwizard.data.checks.template_texts import TemplateTexts
from ftwizard.data.checks.unread_fields import UnreadFields
from ftwizard.data.documents import DataReport, RowPreview, describe_reward_columns
from ftwizard.data.example import Example, RowProblem
from ftwizard.data.findings import FileFinding, Finding, RowFinding, overall_verdict
from ftwizard.data.format_names import FORMAT_NAMES, Format, FormatChoice, TargetName
from ftwizard.data.io import chunks, encodings, inspect, records
from ftwizard.data.io.encodings import LikelyEncoding
from ftwizard.data.io.inspect import Container, FileProblem
from ftwizard.data.io.read_options import AS_IS, ReadOptions
from ftwizard.data.io.source import DataSource
from ftwizard.data.mapping import guess
from ftwizard.data.mapping.column_map import ColumnMap
from ftwizard.data.platforms import Target, default_target, get_target
from ftwizard.data.privacy.quote import quote
from ftwizard.data.tokens import counting, stats
from ftwizard.data.tokens.billing import Bill, compute_bill
from ftwizard.data.tokens.stats import TokenCounts, TokenEstimate
from ftwizard.text import format_bytes, format_count, make_visible

if TYPE_CHECKING:
    from ftwizard.data.dedup import leakage

PREVIEW_ROWS = 100
_JUDGED: tuple[Format, ...] = ("preference", "openai-preference", "kto")
"""Formats of answers with a verdict."""
COUNTED_BYTES = 1 << 30
"""Maximum file size for counting the tokens of every row by default; takes 15 s on one core."""
FIRST_LOOK_BYTES = 16 << 20
"""Larger files get a first report on samples."""
QUICK_BLOCKS = 8
"""Blocks of 64 KB for the immediate report; a larger sample with tokens follows."""
FIRST_ROWS = 200
"""Rows used to guess the format before all rows are read."""
Say = Callable[..., None]
"""Progress callback: ``say(phase, what=…, done=…, total=…, unit=…)``."""


class CheckOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a check."""

    format: FormatChoice = "auto"
    target: TargetName | None = None
    """Default: the target that fits the format."""
    max_length: int | None = None
    """Maximum tokens per row in local training."""
    max_hosted_length: int | None = None
    """Maximum tokens per row of a hosted model. Default: that of the target."""
    count: Literal["exact", "estimate", "no"] | None = None
    """Count tokens of every row, of a sample, or not; default: every row up to ``COUNTED_BYTES``."""
    near: bool = True
    """Look for near-duplicates."""
    read: ReadOptions = AS_IS
    """Encoding and column mapping."""
    model: str | None = None
    """Model whose tokenizer counts. Default: the tokenizer of the target."""
    template: bool = False
    """A model's chat template is tried on the rows as well."""


class CheckedFile:
    """A file, how its rows are read, and what its check finds."""

    scan: FileScan
    """Set by ``check``."""

    def __init__(
        self, path: Path, options: CheckOptions, part: str = "train", *, has_other: bool = False,
        train: CheckedFile | None = None,
    ) -> None:  # fmt: skip
        """Inspect a file and guess its format; ``part`` is train or validation.

        ``has_other``: the other part is checked, too, and both are compared. ``train`` is the
        training file of a validation file, already checked.
        """
        self.path, self.part, self._has_other = path, part, has_other
        self._options, self._train = options, train
        self._explicit = None if options.format == "auto" else options.format
        self.container = records.open_file(path, options.read)
        self.format = self._explicit or guess_format(path, self.container, options.target)
        self._decided: Format | None = self.format
        """None if the format remains unknown."""
        self._counts: TokenCounts | None = None
        self._likely_encoding: LikelyEncoding | None = None

    @property
    def target(self) -> Target:
        """Return the target whose rules apply."""
        name = self._options.target
        return get_target(name) if name else default_target(self.format)

    def check(self, say: Say) -> None:
        """Check all rows, and all rows together."""
        options = self._options
        while True:
            scan = functools.partial(
                FileScan, self.format, self.target, exactly=not self._explicit,
                collect=self._make_collectors(),
            )  # fmt: skip
            report = self._report_progress(say, "checking")
            self.scan = chunks.tally_rows(self.path, self.container, scan, say=report)
            tally = self.scan.tally
            self._decided = self._explicit or _choose(
                tally.decide(self.path, options.read.encoding), options.target
            )
            if self._decided in (self.format, None):
                break
            self.format = self._decided  # the first rows were not typical
        if not self.scan.rows:
            raise reader.no_rows_problem(self.path)
        if len(self.container.columns or ()) > 1 and self.format == "prompt":
            self._refuse_without_answers()
        self._likely_encoding = self._guess_encoding()
        self._counts = self._count_tokens()
        self.scan.findings.add_file(self._check_whole())

    def _make_collectors(self) -> Collectors:
        """Return what collects the tokens and the near-duplicates of the rows that are checked."""
        collect: list[Callable[[], RowCollector]] = []
        if self._count_mode == "exact":
            *_, limit = self._count_arguments
            collect.append(
                functools.partial(counting.TokenCollector, self.target, limit, self._options.model)
            )
        if self._options.near:
            from ftwizard.data.dedup import leakage  # numpy takes 0.1 s

            train = self._train.compared.collector if self._train else None
            collect.append(leakage.make_collector(self.path, self.container, train))
        return collect

    @property
    def _count_mode(self) -> Literal["exact", "estimate", "no"]:
        is_small = self.container.size <= COUNTED_BYTES
        mode = self._options.count or ("exact" if is_small else "estimate")
        return "exact" if mode == "estimate" and not self.container.is_plain_lines else mode

    @property
    def compared(self) -> leakage.ComparedFile:
        """Return the file as it is compared for near-duplicates."""
        from ftwizard.data.dedup import leakage

        (collector,) = (
            each for each in self.scan.collectors if isinstance(each, leakage.NearCollector)
        )
        return leakage.ComparedFile(
            self.path, self.container, self.format, self.scan.rows, collector
        )

    def _report_progress(self, say: Say, phase: str) -> chunks.ReportProgress:
        """Return a callback for progress by bytes, or by rows if their number is unknown (0)."""

        def report(done: int, total: int) -> None:
            unit = {"total": total, "unit": "bytes"} if total else {"unit": "rows"}
            say(phase, what=self.path.name, done=done, **unit)

        return report

    def _refuse_without_answers(self) -> None:
        """Raise FileProblem for a table of prompts, unless its target is known to need no answers."""
        if self._options.target and "prompt" in self.target.kinds:
            return
        names = self.container.columns
        others = [name for name in names if name != "prompt"]
        answer = quote(others[0], 40) if len(others) == 1 else "COLUMN"
        columns = shlex.quote(f"prompt=prompt,completion={answer}")
        raise FileProblem(
            "missing_column",
            f"The table {make_visible(str(self.path))} has a prompt column but no answer column "
            f"({', '.join(quote(name, 40) for name in names)}).",
            "Rename the answer column to completion, or name it (in a plan: data.columns): --columns "
            f"{columns}",
        )

    def report(self) -> DataReport:
        """Return the report on all rows."""
        return self._report(self.scan, self._counts)

    def report_sample(self, blocks: int) -> DataReport:
        """Return the report on rows sampled across the file; their lines are unknown."""
        checker = self.make_checker()
        for record in chunks.sample_rows(self.path, self.container, blocks=blocks):
            checker.take(0, record.value)
        counts = None
        if blocks > QUICK_BLOCKS and self._options.count != "no":
            counts = counting.estimate_tokens(
                *self._count_arguments, blocks=blocks, model=self._options.model
            )
        report = self._report(checker, counts)
        findings = [msgspec.structs.replace(finding, lines=[]) for finding in report.findings]
        return msgspec.structs.replace(report, findings=findings, partial=True)

    def make_checker(self) -> RowChecker:
        """Return a checker of single rows."""
        return RowChecker(self.format, self.target, exactly=not self._explicit)

    def _report(self, checked: RowChecker, counts: TokenCounts | None) -> DataReport:
        target = self.target
        findings = checked.findings.for_target(target)
        if likely := self._likely_encoding:
            findings = [_name_encoding(finding, likely) for finding in findings]
        billed: Bill | None = None
        if counts and target.hosted:
            lengths = counts.tokens
            total = TokenEstimate(value=lengths.total, low=lengths.low, high=lengths.high)
            billed = compute_bill(target, total, epochs=1)
        preview = list(self._preview())
        return DataReport(
            verdict=overall_verdict(findings),
            target=target.name,
            format=self._decided,
            rows=checked.rows,
            usable=checked.usable,
            unit=self.container.unit,
            findings=findings,
            tokens=counts.tokens if counts else None,
            trained_tokens=counts.trained if counts else None,
            path=str(self.path),
            source=None,
            preview=preview,
            billed=billed,
            notes=_list_notes(target, preview),
            likely_encoding=self._likely_encoding,
        )

    def _preview(self) -> Iterator[RowPreview]:
        for record in records.read_first_records(self.path, self.container, PREVIEW_ROWS):
            with contextlib.suppress(RowProblem):
                example = formats.to_example(records.decode_value(record.value), self.format)
                yield RowPreview(line=record.line, example=row_preview.redact_example(example))

    def _count_tokens(self) -> TokenCounts | None:
        if self._count_mode == "no" or not self.scan.usable:
            return None
        for collector in self.scan.collectors:
            if isinstance(collector, counting.TokenCollector):
                return collector.counts()
        return counting.estimate_tokens(*self._count_arguments, model=self._options.model)

    @property
    def _count_arguments(self) -> tuple[Path, Container, Format, Target, int | None]:
        options, is_hosted = self._options, self.target.hosted
        limit = options.max_hosted_length if is_hosted else options.max_length
        return self.path, self.container, self.format, self.target, limit

    def _guess_encoding(self) -> LikelyEncoding | None:
        """Return the likely encoding if there are rows that are not UTF-8."""
        if "encoding" not in self.scan.findings or self.container.encoding != "utf-8":
            return None
        with DataSource(self.path, self.container.identity) as source:
            return encodings.guess_encoding(inspect.read_text(source, self.container))

    def _check_whole(self) -> Iterator[FileFinding]:
        from ftwizard.data.dedup import exact_duplicates  # numpy takes 0.1 s

        rows, target = self.scan.rows, self.target
        if target.hosted and (
            finding := self.container.find_hosting_problem(target.name, target.bom)
        ):
            yield finding.for_rows(rows)
        # Without usable rows, rows of the wrong kind cannot be converted either.
        is_convertible = self.scan.usable or "wrong_kind" not in self.scan.findings
        if self.format not in target.formats and is_convertible:
            yield RowFinding(
                "needs_conversion",
                f"the rows are {FORMAT_NAMES[self.format]}; {target.words} accepts "
                + " or ".join(FORMAT_NAMES[accepted] for accepted in target.formats),
                f"convert them: ftwizard convert DATA --target {target.name} --out FILE",
            ).for_rows(rows)
        if not (target.counts_together and self._has_other):
            for finding in _check_rows(target, rows, self.part):
                yield finding.for_rows(rows)
        if finding := _check_bytes(target, self.container.size):
            yield finding.for_rows(rows)
        are_judged = self.format in _JUDGED
        yield from exact_duplicates.find_repeats(
            self.scan.hashes, are_judged=are_judged, unit=self.container.unit
        )
        for check in self.scan.file_checks:
            yield from check.findings(target, rows)
        if self._counts:
            yield from stats.find_long_rows(self._counts, target, self.container.unit)
        yield from self._find_unread()
        if self.part == "train" and self.container.size <= subject_facts.MAX_BYTES:
            yield from subject_facts.find_facts(self._read_examples())

    def _find_unread(self) -> Iterator[FileFinding]:
        """Yield the findings on what is not read as it is meant, with the mapping that would."""
        mapping = self.container.mapping
        as_it_is = msgspec.structs.replace(self.container, mapping=ColumnMap())
        values = records.read_values(self.path, as_it_is, guess.MAX_ROWS)
        rows = [value for value in values if isinstance(value, dict)]
        for check in self.scan.file_checks:
            if isinstance(check, TemplateTexts):
                yield from check.find_texts(self.format, rows, mapping)
            elif isinstance(check, UnreadFields) and not mapping:
                tried = self._options.template
                yield from check.find_unread(self.format, self.target, rows, tried=tried)

    def _read_examples(self) -> Iterator[tuple[int, Example]]:
        for record in records.read_records(self.path, self.container):
            with contextlib.suppress(RowProblem):
                value = records.decode_value(record.value)
                yield record.line, formats.to_example(value, self.format)


def _list_notes(target: Target, preview: list[RowPreview]) -> tuple[str, ...]:
    """Return the notes about a target; for prompts, the columns that rewards and answers come from."""
    columns = describe_reward_columns(preview)
    if target.name != "trl-grpo" or not columns:
        return target.notes
    return (
        f"To train on prompts here, set recipe.objective to grpo, with rewards: they get {columns}.",
        "For supervised training, name the column of the answers: --columns prompt=…,completion=COLUMN.",
    )


def _name_encoding(finding: Finding, likely: LikelyEncoding) -> Finding:
    """Return the finding on rows that are not UTF-8 with the likely encoding in it."""
    if finding.code != "encoding":
        return finding
    others = f" ({' or '.join(likely.others)} would fit as well)" if likely.others else ""
    return msgspec.structs.replace(
        finding,
        message=f"{finding.message}; {likely.name} is {likely.certainty}{others}: “{likely.excerpt}”",
        fix=f"read the file with --encoding {likely.name} (in a plan: data.encoding)",
    )


def check_files(
    path: Path, options: CheckOptions, *, validation: Path | None = None,
    say: Say = lambda *_, **__: None, show: Callable[[DataReport], None] | None = None,
) -> DataReport:  # fmt: skip
    """Check a training file, and the validation file with it.

    ``say`` receives progress, ``show`` an early report on samples of a large file. Raises
    FileProblem for a file that cannot be used at all.
    """
    train = CheckedFile(path, options, has_other=validation is not None)
    if show and train.container.size > FIRST_LOOK_BYTES:
        for blocks in (QUICK_BLOCKS, counting.QUICK_BLOCKS):
            show(train.report_sample(blocks))
    train.check(say)
    val: CheckedFile | None = None
    if validation:
        options = msgspec.structs.replace(options, target=train.target.name)
        val = CheckedFile(validation, options, "validation", has_other=True, train=train)
        val.check(say)
        _compare(train, val)
    if options.near:
        _find_near_duplicates(train, val, say)
    report = train.report()
    if val is None:
        return report
    val_report = val.report()
    verdict = overall_verdict([*report.findings, *val_report.findings])
    return msgspec.structs.replace(report, verdict=verdict, validation=val_report)


def _compare(train: CheckedFile, val: CheckedFile) -> None:
    """Add the findings on equal rows and on the number of both to ``train``, and one on its relative
    size to ``val``."""
    from ftwizard.data.dedup import exact_duplicates

    leaks = exact_duplicates.find_leakage(train.scan.hashes, val.scan.hashes)
    train.scan.findings.add_file(leaks)
    if train.target.counts_together:
        rows = train.scan.rows + val.scan.rows
        counts = _check_rows(train.target, rows, "train")
        train.scan.findings.add_file([finding.for_rows(rows) for finding in counts])
    if finding := _check_share(train.target, val.container.size, train.container.size):
        val.scan.findings.add_file([finding.for_rows(val.scan.rows)])


def _find_near_duplicates(train: CheckedFile, val: CheckedFile | None, say: Say) -> None:
    """Add the findings on near-duplicates to ``train``."""
    from ftwizard.data.dedup import leakage  # not needed for the first report

    findings = leakage.find_near_duplicates(
        train.compared,
        val.compared if val else None,
        say=lambda done, total: say("comparing", done=done, total=total, unit="files"),
    )
    train.scan.findings.add_file(findings)
    if finding := leakage.report_sampling(train.compared, val.compared if val else None):
        train.scan.findings.add_file([finding.for_rows(train.scan.rows)])


def guess_format(path: Path, container: Container, name: TargetName | None) -> Format:
    """Guess the format of a file from its first rows, given a target if there is one."""
    counter = formats.FormatCounter()
    for record in records.read_first_records(path, container, FIRST_ROWS):
        with contextlib.suppress(RowProblem):
            counter.add(records.decode_value(record.value))
    try:
        return _choose(counter.decide(path), name) or "openai-chat"
    except FileProblem:  # later rows may be clearer
        return "openai-chat"


def _choose(decision: formats.FormatDecision, name: TargetName | None) -> Format | None:
    """Return the format to read rows in; prefer one of the target's that fits all rows."""
    if name and decision.format and decision.format not in (accepted := get_target(name).formats):
        return next((format for format in accepted if format in decision.also), decision.format)
    return decision.format


def _check_rows(target: Target, rows: int, part: str) -> Iterator[RowFinding]:
    """Yield violations of a target's limits on rows; ``part`` is train or validation."""
    max_rows = target.max_validation_rows if part == "validation" else target.max_rows
    both = " for training and validation together" if target.counts_together else ""
    if rows < target.min_rows and part == "train":
        yield RowFinding(
            "too_few",
            f"{format_count(rows, 'row')}; {target.words} needs at least {target.min_rows}{both}",
            "add rows; improvements usually show from about 100 good rows",
        )
    if max_rows is not None and rows > max_rows:
        yield RowFinding(
            "too_many",
            f"{format_count(rows, 'row')}; {target.words} accepts at most {max_rows:,}"
            + (" for validation" if part == "validation" else both),
            "keep the best rows",
        )


def _check_bytes(target: Target, size: int) -> RowFinding | None:
    """Return a finding if a file is larger than a target accepts."""
    if target.max_bytes is None or size <= target.max_bytes:
        return None
    return RowFinding(
        "too_large",
        f"{format_bytes(size)}; {target.words} accepts files up to {format_bytes(target.max_bytes)}",
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
