"""Texts of single rows and their findings."""

from __future__ import annotations

from rich.text import Text

from ftwizard.data.documents import ShownRow
from ftwizard.data.findings import Finding
from ftwizard.screens.terminal import visible_text
from ftwizard.screens.wizard import texts
from ftwizard.screens.wizard.data import report_text, row_view
from ftwizard.text import format_count

MAX_FINDINGS = 8
"""Findings shown above a row."""


def format_first_words(row: ShownRow) -> Text:
    if row.example:
        return visible_text.mark_line(row_view.summarize(row.example))
    return visible_text.mark_line(row.raw, 200)


def add_title(line: int, text: Text) -> Text:
    return Text.assemble((f"row {line:,}", "bold"), "\n\n", text)


def format_row(row: ShownRow, width: int) -> Text:
    """Format a row with its line, findings, and meaning or raw text."""
    text = Text()
    for finding in row.findings[:MAX_FINDINGS]:
        sign, style = report_text.MARKS[finding.severity]
        problem = Text.assemble(
            (f"{sign} ", style), visible_text.mark_line(finding.message, 1000), "; "
        )
        fix = visible_text.mark_line(finding.fix, 1000)
        fix.style = "dim"
        problem.append_text(fix)
        text.append_text(texts.wrap_hanging(problem, 2, width)).append("\n")
    text.append("\n" if text else "")
    if row.example:
        text.append_text(row_view.format_example(row.example))
    else:
        text.append_text(visible_text.mark_lines(row.raw))
    return add_title(row.line, text)


def format_heading(finding: Finding) -> Text:
    """Format the heading above the rows of a finding."""
    sign, style = report_text.MARKS[finding.severity]
    shown = len(finding.lines)
    text = Text.assemble((f"{sign} ", style), (report_text.format_title(finding), "bold"))
    text.append(f"  {format_count(finding.count, 'row')}", "")
    if shown < finding.count:
        text.append(f", the first {shown:,} of them")
    text.append("\n  ").append_text(visible_text.mark_line(finding.message, 300))
    return text
