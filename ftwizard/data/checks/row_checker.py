"""Checks of single rows: all families of checks, from a row's JSON to its findings.

A family is a pure function: it takes one row, yields its findings and never raises, whatever the
row contains. The target decides how severe a finding is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Protocol, Self

from ftwizard.data import formats
from ftwizard.data.checks import (
    content,
    images,
    preference,
    roles,
    secrets,
    spelling,
    text_quality,
    tokens,
    tools,
    volatile_facts,
)
from ftwizard.data.checks.aggregate import FILE_FAMILIES, FileCheck
from ftwizard.data.checks.template_texts import TemplateTexts
from ftwizard.data.checks.unread_fields import UnreadFields
from ftwizard.data.conversation import (
    Conversation,
    to_compared,
    to_conversation,
    to_labeled,
    to_pair,
)
from ftwizard.data.dedup.row_hashes import RowHashes, hash_row
from ftwizard.data.example import Example, PlainChats, RowKind, RowProblem, ToolChats
from ftwizard.data.findings import Findings, RowFinding
from ftwizard.data.format_names import Format, TargetName
from ftwizard.data.formats.tool_markup import fit_markup, has_results
from ftwizard.data.io import records
from ftwizard.data.io.chunks import LineBlock, Tally
from ftwizard.data.platforms import Target, get_target
from ftwizard.data.privacy.prefilter import EVERYTHING, Suspicion

Family = Callable[[Example, Target], Iterator[RowFinding]]

_FORM_FAMILIES: tuple[Family, ...] = (
    roles.check,
    content.check,
    tools.check,
    images.check,
    preference.check,
    tokens.check,
)
_CONTENT_FAMILIES: dict[Suspicion, Family] = {
    "texts": text_quality.check,
    "secrets": secrets.check,
    "facts": volatile_facts.check,
}
"""Their findings are for a person to judge; no target treats them as errors."""
FAMILIES: tuple[Family, ...] = (*_FORM_FAMILIES, *_CONTENT_FAMILIES.values())


_TRAINED: dict[tuple[TargetName, RowKind], Callable[[Example], object]] = {
    ("trl-sft", "chat"): to_conversation,
    ("trl-dpo", "preference"): to_pair,
    ("trl-kto", "labelled"): to_labeled,
}
"""What local training makes of the rows of its targets; it raises RowProblem."""


def check_row(
    example: Example,
    target: Target,
    suspected: Collection[Suspicion] = EVERYTHING,
    *,
    is_converted: bool = False,
) -> list[RowFinding]:
    """Return the findings of a row that matter to ``target``, each code once.

    ``suspected``: the checks of contents that may find anything; the others are skipped.
    ``is_converted``: the target takes the row only as ``ftwizard convert`` writes it.
    """
    written = example
    if target.hosted and (example.tools or has_results(example.messages)):
        written = fit_markup(example, target)
    findings = _collect(_FORM_FAMILIES, written, target, is_converted=is_converted)
    if not any(_prevents_use(finding, target) for finding in findings.values()):
        findings |= _find_training_problem(example, target)
    if suspected:
        findings |= check_contents(example, target, suspected, findings)
    return list(findings.values())


def check_contents(
    example: Example,
    target: Target,
    suspected: Collection[Suspicion],
    earlier: Collection[str] = (),
) -> dict[str, RowFinding]:
    """Return the findings about the contents of a row by code, without ``earlier`` codes."""
    families = [family for name, family in _CONTENT_FAMILIES.items() if name in suspected]
    findings = _collect(families, example, target)
    return {code: finding for code, finding in findings.items() if code not in earlier}


def _collect(
    families: Iterable[Family], example: Example, target: Target, *, is_converted: bool = False
) -> dict[str, RowFinding]:
    findings: dict[str, RowFinding] = {}
    for family in families:
        for finding in family(example, target):
            if is_converted and spelling.is_resolved(finding):
                continue
            if finding.code not in findings and target.severity(finding.code) is not None:
                findings[finding.code] = finding
    return findings


def find_row_error(example: Example, target: Target) -> RowFinding | None:
    """Return the first error of a row for ``target``, or None."""
    findings = check_row(example, target, suspected=())
    return next((each for each in findings if target.severity(each.code) == "error"), None)


def to_usable(row: Example | RowProblem, target: Target) -> Example | RowProblem:
    """Return a row, or why ``target`` cannot be given it, not even as a conversion writes it.

    The usable rows are those that the check counts.
    """
    if isinstance(row, RowProblem):
        return row
    findings = check_row(row, target, suspected=(), is_converted=target.hosted)
    error = next((finding for finding in findings if _prevents_use(finding, target)), None)
    return RowProblem(*error) if error else row


def _prevents_use(finding: RowFinding, target: Target) -> bool:
    """Tell whether the target cannot be given the row, not even as a conversion writes it."""
    if finding.code == "needs_conversion" or target.severity(finding.code) != "error":
        return False
    return not (target.hosted and spelling.is_resolved(finding))


def to_trained_by_kind(example: Example) -> Conversation:
    """Return the conversation that local training uses, with the objective for such a row."""
    by_kind: dict[RowKind, TargetName] = {"preference": "trl-dpo", "labelled": "trl-kto"}
    return to_trained(example, by_kind.get(example.kind, "trl-sft"))


def to_trained(example: Example, target: TargetName = "trl-sft") -> Conversation:
    """Return the conversation that local training uses; raise RowProblem for an unusable row.

    A pair has its chosen answer. The usable rows are those that the check counts, and that a
    conversion for local training writes.
    """
    error = find_row_error(example, get_target(target))
    if error is not None:
        raise RowProblem(*error)
    return to_conversation(example) if target == "trl-sft" else to_compared(example)


def _find_training_problem(example: Example, target: Target) -> dict[str, RowFinding]:
    """Return why local training, if that is the target, cannot use a row, by its code."""
    if convert := _TRAINED.get((target.name, example.kind)):
        try:
            convert(example)
        except RowProblem as problem:
            return {problem.code: RowFinding.from_problem(problem)}
    return {}


class RowCollector(Protocol):
    """Accumulates something else over the rows that a check reads, so that they are parsed once.

    Picklable, and mergeable across parts of a file.
    """

    def begin_block(self, block: LineBlock) -> None:
        """Note the block whose rows are added next."""

    def add_row(self, line: int, example: Example, hashes: tuple[int, int]) -> None:
        """Add a row; ``hashes`` are those of its prompt and its answer."""

    def add_chats(self, chats: PlainChats) -> None:
        """Add consecutive rows."""

    def add_tool_chats(self, chats: ToolChats) -> None:
        """Add consecutive rows with tools."""

    def extend(self, later: Self, lines_before: int) -> None:
        """Add a later part of the file, which starts after ``lines_before`` lines."""


Collectors = Sequence[Callable[[], RowCollector]]


class RowChecker(Tally):
    """Checks rows in file order and collects their findings."""

    def __init__(
        self, format: Format, target: Target, *, exactly: bool, collect: Collectors = ()
    ) -> None:
        """Set up the checks; ``exactly`` rejects rows that look like another format.

        ``collect`` makes the collectors, which also receive rows that ``exactly`` rejects.
        """
        self._format = format
        self._target = target
        self._exactly = exactly
        self._is_converted = target.hosted and format not in target.formats
        self.findings = Findings()
        self.hashes = RowHashes()
        self.tally = formats.FormatCounter()
        self.file_checks: list[FileCheck] = [
            family() for family in (*FILE_FAMILIES, TemplateTexts, UnreadFields)
        ]
        """Checks over all rows."""
        self.collectors = [make() for make in collect]
        self.rows = 0
        self.usable = 0

    def begin_block(self, block: LineBlock) -> None:
        for collector in self.collectors:
            collector.begin_block(block)

    def take(self, line: int, value: bytes | dict[str, Any] | RowProblem) -> None:
        """Check a row: its raw JSON, its value, or the problem that replaces it.

        A blank line is not a row.
        """
        if isinstance(value, bytes) and not value.strip():
            return
        findings, example = self.check_value(value)
        self.record(line, value, findings, example)

    def record(
        self, line: int, value: Any, findings: Iterable[RowFinding], example: Example | None
    ) -> None:
        """Add a row with its findings; ``value`` is as in ``take``.

        ``example`` is None if the row could not be read.
        """
        self.rows += 1
        is_usable = True
        for finding in findings:
            self.findings.add(line, finding)
            is_usable = is_usable and not _prevents_use(finding, self._target)
        if example is None:
            self._collect_rejected(line, value)
            return
        hashes = self.hashes.add(line, example)
        for collector in self.collectors:
            collector.add_row(line, example, hashes)
        for check in self.file_checks:
            check.add(line, example)
        self.usable += is_usable

    def _collect_rejected(self, line: int, value: Any) -> None:
        """Add a row that can be read, but looks like another format, to the collectors."""
        if not self.collectors or not self._exactly:
            return
        with contextlib.suppress(RowProblem):
            example = formats.to_example(records.decode_value(value), self._format)
            prompt, answer, _ = hash_row(example)
            for collector in self.collectors:
                collector.add_row(line, example, (prompt, answer))

    def extend(self, later: Self, lines_before: int) -> None:
        self.rows += later.rows
        self.usable += later.usable
        self.findings.extend(later.findings, lines_before)
        self.hashes.extend(later.hashes, lines_before)
        self.tally.merge(later.tally)
        for mine, theirs in zip(self.file_checks, later.file_checks, strict=True):
            mine.extend(theirs, lines_before)
        for collector, more in zip(self.collectors, later.collectors, strict=True):
            collector.extend(more, lines_before)

    def check_value(self, value: Any) -> tuple[list[RowFinding], Example | None]:
        """Return the findings of a single row, and its example if it can be read.

        ``value`` is as in ``take``.
        """
        try:
            value = records.decode_value(value)
            example = self.read(value)
        except RowProblem as problem:
            return [self.explain(problem)], None
        return self.judge(value, example), example

    def explain(self, problem: RowProblem) -> RowFinding:
        """Return the finding of a row that cannot be read, with what helps for the target."""
        return RowFinding.from_problem(images.explain_missing(problem, self._target))

    def read(self, value: Any) -> Example:
        """Return the example of a decoded row, and count its format; raise RowProblem."""
        looks = self.tally.add(value)
        return formats.parse(value, self._format, exactly=self._exactly, looks=looks)

    def judge(
        self, value: Any, example: Example, suspected: Collection[Suspicion] = EVERYTHING
    ) -> list[RowFinding]:
        """Return the findings of a row; ``suspected`` is as in ``check_row``."""
        spelled = spelling.check_spelling(value, self._format, self._target)
        is_converted = self._is_converted or spelled is not None
        findings = check_row(example, self._target, suspected, is_converted=is_converted)
        if spelled:
            findings.append(spelled)
        return findings
