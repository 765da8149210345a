"""Exact check of a row, from its JSON to its findings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ftwizard.data import checks, formats
from ftwizard.data.checks import hosted_spelling
from ftwizard.data.conversation import to_conversation
from ftwizard.data.dedup.row_hashes import RowHashes
from ftwizard.data.example import Example, RowProblem
from ftwizard.data.findings import Findings, RowFinding
from ftwizard.data.format_names import Format
from ftwizard.data.io import strict_json
from ftwizard.data.platforms import Target


class RowChecker:
    """Checks rows in file order and collects their findings."""

    def __init__(self, format: Format, target: Target, *, exactly: bool) -> None:
        """Set up the checks; ``exactly`` rejects rows that look like another format."""
        self._format = format
        self._target = target
        self._exactly = exactly
        self.findings = Findings()
        self.hashes = RowHashes()
        self.tally = formats.FormatCounter()
        self.file_checks = [family() for family in checks.FILE_FAMILIES]
        """Checks over all rows."""
        self.rows = 0
        self.usable = 0

    def take_line(self, line: int, raw: bytes) -> None:
        """Check the bytes of one JSON document; a blank line is not a row."""
        if not raw.strip():
            return
        try:
            value = strict_json.decode(raw)
        except RowProblem as problem:
            value = problem
        self.take(line, value)

    def take(self, line: int, value: Any) -> None:
        """Check a row's value, or record the problem that replaces it."""
        self.rows += 1
        findings, example = self.check_value(value)
        for finding in findings:
            self.findings.add(line, finding)
        if example is None:
            return
        self.hashes.add(line, example)
        for check in self.file_checks:
            check.add(line, example)
        if not any(self._target.severity(finding.code) == "error" for finding in findings):
            self.usable += 1

    def take_plain(self, line: int, systems: Sequence[bool]) -> None:
        """Count rows without findings from ``line`` on; ``systems`` tells which start with a
        system prompt. The caller adds their hashes."""
        self.rows += len(systems)
        self.usable += len(systems)
        for check in self.file_checks:
            check.add_plain(line, systems)

    def check_value(self, value: Any) -> tuple[list[RowFinding], Example | None]:
        """Return the findings of a single row, and its meaning if it can be read."""
        try:
            if isinstance(value, RowProblem):
                raise value
            looks = self.tally.add(value)
            formats.check_format(looks, self._format, exactly=self._exactly, row=value)
            example = formats.to_example(value, self._format)
        except RowProblem as problem:
            return [RowFinding(problem.code, problem.message, problem.fix)], None
        findings = checks.check_row(example, self._target)
        if spelling := hosted_spelling.check_spelling(value, self._format, self._target):
            findings.append(spelling)
        if self._target.name == "trl-sft" and example.kind == "chat":
            try:
                to_conversation(example)
            except RowProblem as problem:  # local training would reject the row
                if all(finding.code != problem.code for finding in findings):
                    findings.append(RowFinding(problem.code, problem.message, problem.fix))
        return findings, example
