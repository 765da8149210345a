"""Overview of a checked data file: row lengths, notes and available tools."""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text

from ftwizard.data import platforms
from ftwizard.data.documents import DataReport
from ftwizard.screens import layout, palette
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.wizard.data import length_histogram, report_text
from ftwizard.screens.wizard.data.length_histogram import RowLengths
from ftwizard.text import make_visible

_MIN_BARS = 7
"""Minimum lines of a readable histogram."""
_MAX_BARS = 20
TOOLS: tuple[tuple[str, str, Callable[[DataReport], bool]], ...] = (
    ("f", "fixes rows into a new file", lambda report: bool(report.findings)),
    ("s", "splits off a validation file", lambda report: bool(report.usable)),
    ("c", "converts for another target", report_text.can_convert),
)
"""Key, label and availability of each tool."""


def get_lengths(report: DataReport, draft: Draft) -> RowLengths | None:
    """Return the row lengths with the limit of recipe or target."""
    if draft.target == "trl-sft":
        limit = draft.plan.recipe.max_length
        return length_histogram.build_lengths(report, limit, "the recipe's max length")
    max_tokens = platforms.get_target(report.target).max_tokens
    return length_histogram.build_lengths(report, max_tokens, "the target's limit")


def draw_bars(report: DataReport, draft: Draft, width: int, height: int) -> Text:
    """Draw the histogram; empty if no lengths are known."""
    lengths = get_lengths(report, draft)
    if lengths is None:
        return Text()
    return length_histogram.draw_histogram(lengths, width, max(_MIN_BARS, min(_MAX_BARS, height)))


def build_overview(
    report: DataReport,
    draft: Draft,
    room: tuple[int, int],
    *,
    with_bars: bool,
) -> Text:
    """Build the overview in ``room`` (cells, lines): lengths, notes and tools."""
    width, height = room
    notes = Text()
    for note in (*report.notes, *report_text.list_suggestions(report)):
        notes.append("· ", "dim").append(f"{make_visible(note, 300)}\n")
    keys = Text("\n").join(
        Text.assemble((key, f"bold {palette.ACCENT}"), f"  {label}")
        for key, label, needed in TOOLS
        if needed(report) and not report.partial
    )
    notes = layout.wrap_hanging(notes, 2, width) if notes else notes
    below = [part for part in (notes, keys) if part]
    if with_bars and (lengths := get_lengths(report, draft)):
        used = sum(part.plain.count("\n") + 2 for part in below)
        drawn = length_histogram.draw_histogram(
            lengths, width, max(_MIN_BARS, min(_MAX_BARS, height - used))
        )
        below.insert(0, drawn)
    return Text("\n\n").join(below)
