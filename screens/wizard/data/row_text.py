"""Texts of single rows and their findings."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from ftwizard.screens.terminal import visible_text
from ftwizard.screens.wizard import texts
from ftwizard.screens.wizard.data import report_text, row_view
from ftwizard.text import format_count

MAX_FINDINGS = 8
"""Findings shown above a row."""


def format_first_words(row: dict[str, Any]) -> Text:
    if example := row.get("example"):
        return visible_text.mark_line(row_view.summarize(example))
    return visible_text.mark_line(str(row.get("raw") or ""), 200)


def add_title(line: int, text: Text) -> Text:
    return Text.assemble((f"row {line:,}", "bold"), "\n\n", text)


def format_row(row: dict[str, Any], width: int) -> Text:
    """Format a row with its line, findings, and meaning or raw text."""
    text = Text()
    for finding in (row.get("findings") or [])[:MAX_FINDINGS]:
        sign, style = report_text.MARKS.get(finding["severity"], report_text.MARKS["info"])
        problem = Text.assemble(
            (f"{sign} ", style), visible_text.mark_line(str(finding["message"]), 1000), "; "
        )
        fix = visible_text.mark_line(str(finding["fix"]), 1000)
        fix.style = "dim"
        problem.append_text(fix)
        text.append_text(texts.wrap_hanging(problem, 2, width)).append("\n")
    text.append("\n" if text else "")
    if example := row.get("example"):
        text.append_text(row_view.format_example(example))
    else:
        text.append_text(visible_text.mark_lines(str(row.get("raw") or "")))
    return add_title(row["line"], text)


def format_heading(finding: dict[str, Any]) -> Text:
    """Format the heading above the rows of a finding."""
    sign, style = report_text.MARKS.get(finding["severity"], report_text.MARKS["info"])
    shown = len(finding["lines"])
    text = Text.assemble((f"{sign} ", style), (report_text.format_title(finding), "bold"))
    text.append(f"  {format_count(finding['count'], 'row')}", "")
    if shown < finding["count"]:
        text.append(f", the first {shown:,} of them")
    text.append("\n  ").append_text(visible_text.mark_line(str(finding["message"]), 300))
    return text
