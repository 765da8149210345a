"""Forecast of a repair: what ``check --fix`` would do with the rows that have findings.

The repair is really tried on these rows; nothing is written.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.data.checks.inspect_rows import read_records
from ftwizard.data.checks.row_checker import RowChecker
from ftwizard.data.checks.template_texts import find_mapping
from ftwizard.data.documents import DataReport, RepairForecast
from ftwizard.data.example import RowProblem
from ftwizard.data.export.convert import convert_row, split_pair
from ftwizard.data.export.pictures import embed_pictures
from ftwizard.data.findings import Finding
from ftwizard.data.format_names import Format, FormatChoice
from ftwizard.data.io import records
from ftwizard.data.io.read_options import AS_IS, ReadOptions
from ftwizard.data.io.records import Record
from ftwizard.data.mapping.column_map import ColumnMap
from ftwizard.data.mapping.options import format_columns
from ftwizard.data.platforms import Target, get_target
from ftwizard.data.reader import RowReader
from ftwizard.data.repair.repair import Repairer
from ftwizard.text import format_count

MAX_ROWS = 1000
"""Rows that are tried: under a second."""
MAX_BYTES = 64 << 20
"""Size of a file whose rows cannot be located without reading all before them."""
CONVERTED_ROWS = 100
"""Rows on which a conversion is tried."""
MAX_SHOWN = 5
"""Codes that are listed."""
_CONVERTED = ("needs_conversion", "parquet", "compressed", "wrong_kind", "image_url", "image_mixed")
"""Findings whose fix is a conversion."""
_TEXTS = "template_text"
"""The finding whose fix is a column mapping."""
MAPPED_ROWS = 50
"""First rows that a mapping is tried on."""
_MARKS = ("bom", "bom_missing")
_OF_FILE = (*_MARKS, "duplicate")
"""Findings on the file as a whole that a repair fixes."""


def forecast_repair(
    report: DataReport, format: FormatChoice = "auto", read: ReadOptions = AS_IS
) -> RepairForecast | None:
    """Return what a repair would do with the file of ``report``; None if nothing needs one.

    ``format`` and ``read`` are those of the check. At most ``MAX_ROWS`` rows are tried, the first
    with findings.
    """
    serious = [finding for finding in report.findings if finding.severity != "info"]
    if not serious or report.format is None or report.partial:
        return None
    container = records.open_file(path := Path(report.path), read)
    row_format = msgspec.convert(report.format, Format)
    reading = RowReader(
        path=path, container=container, format=row_format, is_explicit=format != "auto"
    )
    trial = _Trial(reading, get_target(report.target))
    errors = [finding for finding in serious if finding.severity == "error"]
    if any(finding.code in _CONVERTED and finding.count == report.rows for finding in errors):
        return RepairForecast(convertible=trial.can_convert())
    is_whole = report.rows <= MAX_ROWS
    lines = None if is_whole else _list_lines(serious)
    if lines and not (container.is_plain_lines or container.size <= MAX_BYTES):
        lines = []
    for record in _read(reading, lines):
        trial.take(record)
    by_hand = Counter(trial.by_hand)
    for finding in serious:
        code = finding.code
        is_unrepaired = code in by_hand and by_hand[code] == trial.row_codes[code]
        if is_unrepaired or (code not in trial.row_codes and code not in _OF_FILE):
            by_hand[code] = finding.count
    columns = _find_columns(reading, by_hand, read)
    if columns:
        del by_hand[_TEXTS]
    removed = trial.removed
    if not is_whole:
        removed = sum(finding.count for finding in serious if finding.code == "duplicate")
    if not by_hand and not trial.has_effect and any(each.code in _MARKS for each in errors):
        return RepairForecast(convertible=trial.can_convert())
    return RepairForecast(
        repaired=trial.repaired, changed=trial.changed, removed=removed, left_out=trial.left_out,
        remaining=max(0, report.rows - removed - trial.left_out),
        by_hand=dict(by_hand.most_common()), columns=columns,
        tried=None if is_whole or _is_all(serious, lines) else len(lines or ()),
    )  # fmt: skip


def _find_columns(reading: RowReader, codes: Collection[str], read: ReadOptions) -> str | None:
    """Return the mapping that reads conversations written as one text; None without one."""
    if _TEXTS not in codes or reading.format is None:
        return None
    plain = msgspec.structs.replace(reading.container, mapping=ColumnMap())
    values = records.read_values(reading.path, plain, MAPPED_ROWS)
    rows = [value for value in values if isinstance(value, dict)]
    mapping = find_mapping(reading.format, rows, read.columns)
    return format_columns(mapping) if mapping else None


def _list_lines(findings: Sequence[Finding]) -> list[int]:
    lines = {line for finding in findings if finding.code != "duplicate" for line in finding.lines}
    return sorted(lines)[:MAX_ROWS]


def _is_all(findings: Sequence[Finding], tried: Sequence[int] | None) -> bool:
    """Return whether the rows that were tried are all that have findings."""
    lines = {line for finding in findings if finding.code != "duplicate" for line in finding.lines}
    listed = all(
        len(finding.lines) in (0, finding.count)
        for finding in findings
        if finding.code != "duplicate"
    )
    return listed and len(lines) == len(tried or ())


def _read(reading: RowReader, lines: list[int] | None) -> Iterator[Record]:
    """Yield the rows at ``lines``, or all."""
    if lines is None:
        yield from records.read_records(reading.path, reading.container)
        return
    map_value = records.make_mapper(reading.container.mapping)
    for record in read_records(reading.path, reading.container, lines):
        yield Record(record.line, map_value(record.value))


class _Trial:
    """A repair of some rows, and what is left to do by hand after it."""

    def __init__(self, reading: RowReader, target: Target) -> None:
        assert reading.format is not None
        self._reading, self._target = reading, target
        self._repairer = Repairer(reading, target, redact=False)
        self._checker = RowChecker(reading.format, target, exactly=not reading.is_explicit)
        self.repaired = self.changed = self.removed = self.left_out = 0
        self.by_hand: Counter[str] = Counter()
        """Rows by code: those left out, and those that keep an error or warning."""
        self.row_codes: Counter[str] = Counter()
        """Rows by code of the findings on single rows."""

    @property
    def has_effect(self) -> bool:
        """Return whether any row was repaired, improved, removed or left out."""
        return bool(self.repaired or self.changed or self.removed or self.left_out)

    def take(self, record: Record) -> None:
        """Repair a row."""
        before = self._grade(record.value)
        self.row_codes.update(before.keys())
        log = io.BytesIO()
        try:
            lines = self._repairer.repair_row(record.line, record.value, log)
        except RowProblem as problem:
            self.left_out += 1
            self.by_hand[self._checker.explain(problem).code] += 1
            return
        if not lines and b'"code":"duplicate"' in log.getvalue():
            self.removed += 1
            return
        if not lines:
            self.left_out += 1
            self.by_hand.update(before)
            return
        after = before
        if log.getvalue():
            after = {code: grade for line in lines for code, grade in self._grade(line).items()}
        if "error" in before.values():
            self.repaired += 1
        elif log.getvalue():
            self.changed += 1
        self.by_hand.update(after.keys())

    def can_convert(self) -> bool:
        """Return whether a conversion would write any of the first rows."""
        for _, row in islice(self._reading.examples(), CONVERTED_ROWS):
            try:
                if not isinstance(row, RowProblem):
                    row = embed_pictures(row, self._target, self._reading.path.parent)
                    for each in split_pair(row, self._target):
                        convert_row(each, self._target)
                    return True
            except RowProblem:
                continue
        return False

    def _grade(self, value: Any) -> dict[str, str]:
        """Return the errors and warnings of a row by code."""
        graded = {
            finding.code: self._target.severity(finding.code)
            for finding in self._checker.check_value(value)[0]
        }
        return {code: grade for code, grade in graded.items() if grade in ("error", "warning")}


def describe_forecast(forecast: RepairForecast) -> str:
    """Describe what a repair does: ``repairs 3 rows, removes 1 duplicate, leaves out 2 rows``."""
    does = [
        f"{verb} {format_count(count, noun)}"
        for verb, count, noun in (
            ("repairs", forecast.repaired, "row"),
            ("improves", forecast.changed, "row"),
            ("removes", forecast.removed, "duplicate"),
            ("leaves out", forecast.left_out, "row"),
        )
        if count
    ]
    tried = (
        f" (tried on {forecast.tried:,} rows with findings)" if forecast.tried is not None else ""
    )
    return ", ".join(does) + tried


def describe_by_hand(forecast: RepairForecast) -> str:
    """Describe what a repair cannot fix: ``empty_assistant (2 rows), conflict (4 rows)``."""
    listed = list(forecast.by_hand.items())
    option = {"secret": ", or --redact", "too_long": ", or --leave-out-long"}
    shown = [
        f"{code} ({format_count(count, 'row')}{option.get(code, '')})"
        for code, count in listed[:MAX_SHOWN]
    ]
    if more := len(listed) - MAX_SHOWN:
        shown += [f"{more} more"] if more > 0 else []
    return ", ".join(shown)
