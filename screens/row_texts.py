"""Rows with what is wrong with each, as text."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from ftwizard.screens import marked, reports, rows_read, texts
from ftwizard.text import plural

MOST_FINDINGS = 8
"""Of a row, that are shown above it."""


def first_words(row: dict[str, Any]) -> Text:
    if example := row.get("example"):
        return marked.line(rows_read.first_words(example))
    return marked.line(str(row.get("raw") or ""), 200)


def titled(line: int, text: Text) -> Text:
    return Text.assemble((f"row {line:,}", "bold"), "\n\n", text)


def whole(row: dict[str, Any], width: int) -> Text:
    """Return a row with its line: what is wrong with it, and how it reads or what stands there."""
    text = Text()
    for one in (row.get("findings") or [])[:MOST_FINDINGS]:
        sign, style = reports.MARKS.get(one["severity"], reports.MARKS["info"])
        said = Text.assemble((f"{sign} ", style), marked.line(str(one["message"]), 1000), "; ")
        fix = marked.line(str(one["fix"]), 1000)
        fix.style = "dim"
        said.append_text(fix)
        text.append_text(texts.hanging(said, 2, width)).append("\n")
    text.append("\n" if text else "")
    if example := row.get("example"):
        text.append_text(rows_read.meaning(example))
    else:
        text.append_text(marked.lines(str(row.get("raw") or "")))
    return titled(row["line"], text)


def heading(finding: dict[str, Any]) -> Text:
    """Return what the rows of a finding have in common."""
    sign, style = reports.MARKS.get(finding["severity"], reports.MARKS["info"])
    shown = len(finding["lines"])
    text = Text.assemble((f"{sign} ", style), (reports.title(finding), "bold"))
    text.append(f"  {plural(finding['count'], 'row')}", "")
    if shown < finding["count"]:
        text.append(f", the first {shown:,} of them")
    text.append("\n  ").append_text(marked.line(str(finding["message"]), 300))
    return text
