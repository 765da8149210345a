"""Histogram of row lengths with the length limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.text import Text

from ftwizard.data import platforms
from ftwizard.data.documents import DataReport
from ftwizard.plan.schema import Recipe
from ftwizard.screens import palette
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.wizard.data.row_text import count_characters
from ftwizard.text import format_count

_WITHIN, _HALF, _BEYOND = "━", "╸", "┅"
"""Glyphs of the bars: up to the limit (and its half cell), and beyond it."""
_MIN_BAR_WIDTH, _MAX_BAR_WIDTH = 8, 60
_BINS = 12
_MIN_BARS, _MAX_BARS = 7, 20
"""Lines of a readable histogram."""
_LABELS = {"p50": "median", "p95": "p95", "max": "max"}


@dataclass(frozen=True)
class RowLengths:
    """The row lengths of a file."""

    unit: str
    """``tokens`` or ``characters``."""
    bins: Sequence[tuple[int, int]]
    """Upper edge and row count of each bin, shortest first."""
    figures: dict[str, int]
    limit: int | None = None
    over: int | None = None
    """Rows beyond the limit, if counted."""
    whose: str = ""
    """Name of the limit."""
    rows: str = ""
    """Which rows, if not all."""


def get_lengths(report: DataReport, draft: Draft) -> RowLengths | None:
    """Return the row lengths with the limit of recipe or target."""
    if draft.provider == "local":
        length = draft.plan.recipe.max_length
        whose = "the default" if length == Recipe().max_length else "the recipe's"
        return build_lengths(report, length, f"{whose} max length")
    return build_lengths(
        report, platforms.get_target(report.target).max_tokens, "the target's limit"
    )


def draw_bars(report: DataReport, draft: Draft, width: int, height: int) -> Text:
    """Draw the histogram in about ``height`` lines; empty if no lengths are known."""
    lengths = get_lengths(report, draft)
    if lengths is None:
        return Text()
    return draw_histogram(lengths, width, max(_MIN_BARS, min(_MAX_BARS, height)))


def build_lengths(report: DataReport, limit: int | None, whose: str = "") -> RowLengths | None:
    """Return the lengths in a report; None if it has none.

    ``limit`` is in tokens. Without token counts, use the characters of the first rows.
    """
    counted = report.tokens
    if counted and counted.histogram:
        figures = {name: getattr(counted, name) for name in _LABELS}
        over = counted.over_limit if counted.limit == limit else None
        return RowLengths("tokens", counted.histogram, figures, limit, over, whose)
    first = sorted(count_characters(row.example) for row in report.preview)
    if not first:
        return None
    figures = {"p50": first[len(first) // 2], "max": first[-1]}
    rows = "" if len(first) == report.rows else f", the first {format_count(len(first), 'row')}"
    return RowLengths("characters", _build_bins(first), figures, rows=rows)


def draw_histogram(lengths: RowLengths, width: int, height: int) -> Text:
    """Draw the bars in ``width`` cells and at most ``height`` lines (5 or more)."""
    shown = _merge_bins(lengths, max(2, height - 3))
    limit_index = _find_limit_bin(shown)
    edges = max(len(f"{edge:,}") for edge, _ in shown.bins) + 2
    counts = max(len(f"{rows:,}") for _, rows in shown.bins)
    note = f"  ◂ limit {shown.limit:,}" if limit_index is not None else ""
    if note and width - edges - counts - len(note) - 3 < _MIN_BAR_WIDTH:
        note = " ◂"  # the limit is named below
    room = width - edges - counts - len(note) - 3
    room = max(_MIN_BAR_WIDTH, min(_MAX_BAR_WIDTH, room))
    most = max(rows for _, rows in shown.bins) or 1
    text = Text.assemble(
        ("lengths", "bold"), (f" in {shown.unit}{shown.rows}\n", "dim"), no_wrap=True
    )
    for index, (edge, rows) in enumerate(shown.bins):
        beyond = limit_index is not None and index > limit_index
        text.append(f"≤ {edge:,}".rjust(edges), "dim").append(" ")
        text.append_text(_draw_bar(rows / most, room, beyond)).append(f" {rows:>{counts},}")
        if index == limit_index:
            text.append(note, palette.WARNING)
        text.append("\n")
    return text.append_text(format_figures(shown))


def format_figures(lengths: RowLengths) -> Text:
    """Format median, p95 and maximum, and the rows beyond the limit."""
    parts = [f"{_LABELS[name]} {value:,}" for name, value in lengths.figures.items()]
    text = Text(" · ".join(parts), "dim")
    if lengths.limit is None:
        return text
    over = lengths.over
    if over is None and lengths.figures.get("max", 0) <= lengths.limit:
        over = 0
    if over is not None:
        rows = f"{format_count(over, 'row exceeds', 'rows exceed')}" if over else "no row exceeds"
        text.append(f"\n{rows} {lengths.whose} of {lengths.limit:,}")
    return text


def _draw_bar(share: float, room: int, beyond: bool) -> Text:
    """Draw a bar; beyond the limit it differs in shape, not only in color."""
    halves = max(1, round(share * room * 2)) if share else 0
    if beyond:
        drawn, style = _BEYOND * -(-halves // 2), palette.WARNING
    else:
        drawn, style = _WITHIN * (halves // 2) + _HALF * (halves % 2), palette.ACCENT
    return Text.assemble((drawn, style), " " * (room - len(drawn)))


def _find_limit_bin(lengths: RowLengths) -> int | None:
    """Return the index of the bin that holds the limit; None if all rows are shorter."""
    if lengths.limit is None:
        return None
    indexes = (index for index, (edge, _) in enumerate(lengths.bins) if edge >= lengths.limit)
    return next(indexes, None)


def _merge_bins(lengths: RowLengths, most: int) -> RowLengths:
    """Merge neighboring bins into at most ``most``."""
    bins = list(lengths.bins)
    each = -(-len(bins) // max(1, most))
    groups = [bins[at : at + each] for at in range(0, len(bins), each)]
    return replace(lengths, bins=[(group[-1][0], sum(n for _, n in group)) for group in groups])


def _build_bins(ordered: list[int]) -> list[tuple[int, int]]:
    """Build bins that widen by a constant factor, as lengths span orders of magnitude."""
    least, most = max(ordered[0], 1), max(ordered[-1], 1)
    factor = max((most / least) ** (1 / _BINS), 1.0)
    edges = sorted({min(most, round(least * factor**n)) for n in range(1, _BINS)} | {most})
    bins, below = [], 0
    for edge in edges:
        upto = sum(value <= edge for value in ordered)
        bins.append((edge, upto - below))
        below = upto
    return bins
