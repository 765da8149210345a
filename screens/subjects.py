"""What the cursor can be on in a report: its findings, and the first rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.text import Text

from ftwizard.screens import marked, reports, rows_read
from ftwizard.screens.reports import Report

TRAIN, VALIDATION = "train", "validation"
_MOST_NAME = 26
_AROUND = 8
"""Cells of a line besides count, name and words."""
_LEAST_WORDS = 20
"""Cells in which the first words of a finding say anything."""


@dataclass(frozen=True)
class Subject:
    """A finding, or a row."""

    path: str
    """The file that it is in."""
    finding: dict[str, Any] | None = None
    row: dict[str, Any] | None = None
    partial: bool = False
    """Of a first look at parts of the file."""
    unit: str = "line"
    """What lines count."""

    @property
    def lines(self) -> list[int]:
        """Return the lines of the finding, as far as they are known."""
        return list(self.finding["lines"]) if self.finding and not self.partial else []

    def read_out(self) -> Text:
        """Return all that is known of it."""
        if self.finding:
            return reports.about(self.finding, partial=self.partial, unit=self.unit)
        row = self.row or {}
        title = Text.assemble((f"row {row['line']:,}", "bold"), "\n\n")
        return title.append_text(rows_read.meaning(row["example"]))


def of(found: Report) -> dict[str, Subject]:
    """Return findings and first rows by an id that is the same for the same in another report."""
    subjects: dict[str, Subject] = {}
    for part, report in ((TRAIN, found), (VALIDATION, found.get("validation"))):
        if not report:
            continue
        for finding in reports.by_gravity(report):
            id = f"{part}:{finding['severity']}:{finding['code']}"
            while id in subjects:
                id += "+"
            partial, unit = bool(found.get("partial")), str(report.get("unit", "line"))
            subjects[id] = Subject(str(report["path"]), finding, None, partial, unit)
    for row in found["preview"]:
        subjects[f"row:{row['line']}"] = Subject(str(found["path"]), row=row)
    return subjects


def lines(subjects: dict[str, Subject], width: int) -> list[tuple[Text, str | None]]:
    """Return what there is to choose from, line by line with its id, headings with none: findings
    of the rows, of the validation file, and the first rows."""
    findings = [one.finding for one in subjects.values() if one.finding]
    numbers = [one["count"] for one in findings]
    numbers += [one.row["line"] for one in subjects.values() if one.row]
    counts = max((len(f"{number:,}") for number in numbers), default=1)
    names = min(_MOST_NAME, max((len(reports.title(one)) for one in findings), default=0))
    brief = width < _AROUND + counts + names + _LEAST_WORDS
    shown: list[tuple[Text, str | None]] = []
    before = TRAIN
    for id, subject in subjects.items():
        part = id.partition(":")[0]
        if part != before:
            heading = "in the validation file" if part == VALIDATION else "first rows"
            shown += [*([(Text(), None)] if shown else ()), (Text.assemble((heading, "dim")), None)]
        before = part
        if subject.finding:
            shown.append((reports.line(subject.finding, counts, names, brief=brief), id))
        elif subject.row:
            number = Text.assemble((f"  {subject.row['line']:>{counts},}  ", "dim"))
            words = marked.line(rows_read.first_words(subject.row["example"]))
            shown.append((number.append_text(words), id))
    return shown
