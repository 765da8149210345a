"""Texts of single rows and their findings."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from ftwizard.screens import marked, reports, rows_read, texts
from ftwizard.text import plural

MAX_FINDINGS = 8
"""Findings shown above a row."""


def format_first_words(row: dict[str, Any]) -> Text:
    if example := row.get("example"):
        return marked.line(rows_read.summarize(example))
    return marked.line(str(row.get("raw") or ""), 200)


def add_title(line: int, text: Text) -> Text:
    return Text.assemble((f"row {line:,}", "bold"), "\n\n", text)


def format_row(row: dict[str, Any], width: int) -> Text:
    """Format a row with its line, findings, and meaning or raw text."""
    text = Text()
    for finding in (row.get("findings") or [])[:MAX_FINDINGS]:
        sign, style = reports.MARKS.get(finding["severity"], reports.MARKS["info"])
        problem = Text.assemble(
            (f"{sign} ", style), marked.line(str(finding["message"]), 1000), "; "
        )
        fix = marked.line(str(finding["fix"]), 1000)
        fix.style = "dim"
        problem.append_text(fix)
        text.append_text(texts.hanging(problem, 2, width)).append("\n")
    text.append("\n" if text else "")
    if example := row.get("example"):
        text.append_text(rows_read.format_example(example))
    else:
        text.append_text(marked.lines(str(row.get("raw") or "")))
    return add_title(row["line"], text)


def format_heading(finding: dict[str, Any]) -> Text:
    """Format the heading above the rows of a finding."""
    sign, style = reports.MARKS.get(finding["severity"], reports.MARKS["info"])
    shown = len(finding["lines"])
    text = Text.assemble((f"{sign} ", style), (reports.format_title(finding), "bold"))
    text.append(f"  {plural(finding['count'], 'row')}", "")
    if shown < finding["count"]:
        text.append(f", the first {shown:,} of them")
    text.append("\n  ").append_text(marked.line(str(finding["message"]), 300))
    return text
