"""A row, from its JSON to all that is to be said of it: the one slow and exact way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ftwizard.data import checks, formats, strict_json
from ftwizard.data.checks import as_sent
from ftwizard.data.checks.found import Found
from ftwizard.data.conversation import RowProblem, conversation
from ftwizard.data.example import Example
from ftwizard.data.facts import Facts
from ftwizard.data.findings import Findings
from ftwizard.data.format_names import Format
from ftwizard.data.targets import Target


class RowChecker:
    """Takes rows in the order of the file; collects what is found in them."""

    def __init__(self, format: Format, target: Target, *, exactly: bool) -> None:
        """``exactly``: rows that look like another format are refused (it was not demanded)."""
        self._format = format
        self._target = target
        self._exactly = exactly
        self.findings = Findings()
        self.facts = Facts()
        self.tally = formats.Tally()
        self.shapes = [make() for make in checks.FILE_FAMILIES]
        """What is only seen over all rows."""
        self.rows = 0
        self.usable = 0

    def take_line(self, line: int, raw: bytes) -> None:
        """Take in the bytes of one JSON document; blanks are no row."""
        if not raw.strip():
            return
        try:
            value = strict_json.decode(raw)
        except RowProblem as problem:
            value = problem
        self.take(line, value)

    def take(self, line: int, value: Any) -> None:
        """Take in a row's value, or the problem that stands for it."""
        self.rows += 1
        found, example = self.look(value)
        for one in found:
            self.findings.add(line, one)
        if example is None:
            return
        self.facts.add(line, example)
        for shape in self.shapes:
            shape.add(line, example)
        if not any(self._target.severity(one.code) == "error" for one in found):
            self.usable += 1

    def take_plain(self, line: int, systems: Sequence[bool]) -> None:
        """Count rows from ``line`` on that nothing is to be said of, and whether each begins with
        a system prompt; their facts are added by who found them so."""
        self.rows += len(systems)
        self.usable += len(systems)
        for shape in self.shapes:
            shape.add_plain(line, systems)

    def look(self, value: Any) -> tuple[list[Found], Example | None]:
        """Return what is to be said of a row by itself, and what it means where that can be told."""
        try:
            if isinstance(value, RowProblem):
                raise value
            looks = self.tally.add(value)
            formats.check(looks, self._format, exactly=self._exactly, row=value)
            example = formats.example(value, self._format)
        except RowProblem as problem:
            return [Found(problem.code, problem.message, problem.fix)], None
        found = checks.of_row(example, self._target)
        if other := as_sent.of_value(value, self._format, self._target):
            found.append(other)
        if self._target.name == "trl-sft" and example.kind == "chat":
            try:
                conversation(example)
            except RowProblem as problem:  # what a run here would refuse
                if all(one.code != problem.code for one in found):
                    found.append(Found(problem.code, problem.message, problem.fix))
        return found, example
