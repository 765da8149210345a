"""How long rows are: a bar for each range of lengths, and where the limit falls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.text import Text

from ftwizard.screens import palette
from ftwizard.screens.rows_read import length
from ftwizard.text import plural

_WITHIN, _HALF, _BEYOND = "━", "╸", "┅"
"""Bars are made of: rows up to the limit, and rows that are longer."""
_LEAST_BAR, _MOST_BAR = 8, 60
_BINS = 12
_WORDS = {"p50": "median", "p95": "95 % to", "max": "longest"}


@dataclass(frozen=True)
class Lengths:
    """How long the rows of a file are."""

    unit: str
    """``tokens`` or ``characters``."""
    bins: Sequence[tuple[int, int]]
    """Upper edge and rows of each range, the shortest first."""
    figures: dict[str, int]
    limit: int | None = None
    over: int | None = None
    """Rows beyond the limit, where that was counted."""
    whose: str = ""
    """Whose limit it is."""
    rows: str = ""
    """Which rows, where not all."""


def lengths(found: dict[str, Any], limit: int | None, whose: str = "") -> Lengths | None:
    """Return the lengths that a report tells of, None where there is none.

    ``limit`` is in tokens. Where no tokens were counted, the characters of its first rows.
    """
    counted = found.get("tokens")
    if counted and counted.get("histogram"):
        figures = {name: counted[name] for name in _WORDS if name in counted}
        over = counted.get("over_limit") if counted.get("limit") == limit else None
        bins = [(int(edge), int(rows)) for edge, rows in counted["histogram"]]
        return Lengths("tokens", bins, figures, limit, over, whose)
    first = sorted(length(row["example"]) for row in found["preview"] if row.get("example"))
    if not first:
        return None
    figures = {"p50": first[len(first) // 2], "max": first[-1]}
    rows = "" if len(first) == found["rows"] else f", the first {plural(len(first), 'row')}"
    return Lengths("characters", _bins(first), figures, rows=rows)


def draw(lengths: Lengths, width: int, height: int) -> Text:
    """Return the bars in ``width`` cells and at most ``height`` lines (5 or more)."""
    shown = _merged(lengths, max(2, height - 3))
    at = _bin_of_limit(shown)
    edges = max(len(f"{edge:,}") for edge, _ in shown.bins) + 2
    counts = max(len(f"{rows:,}") for _, rows in shown.bins)
    note = f"  ◂ limit {shown.limit:,}" if at is not None else ""
    if note and width - edges - counts - len(note) - 3 < _LEAST_BAR:
        note = " ◂"  # below stands which limit
    room = width - edges - counts - len(note) - 3
    room = max(_LEAST_BAR, min(_MOST_BAR, room))
    most = max(rows for _, rows in shown.bins) or 1
    text = Text.assemble(
        ("lengths", "bold"), (f" in {shown.unit}{shown.rows}\n", "dim"), no_wrap=True
    )
    for place, (edge, rows) in enumerate(shown.bins):
        beyond = at is not None and place > at
        text.append(f"≤ {edge:,}".rjust(edges), "dim").append(" ")
        text.append_text(_bar(rows / most, room, beyond)).append(f" {rows:>{counts},}")
        if place == at:
            text.append(note, palette.WARNING)
        text.append("\n")
    return text.append_text(figures(shown))


def figures(lengths: Lengths) -> Text:
    """Return the lengths in words: of most rows, of the longest, and beyond the limit."""
    parts = [f"{_WORDS[name]} {value:,}" for name, value in lengths.figures.items()]
    text = Text(" · ".join(parts), "dim")
    if lengths.limit is None:
        return text
    over = lengths.over
    if over is None and lengths.figures.get("max", 0) <= lengths.limit:
        over = 0
    if over is not None:
        rows = f"{plural(over, 'row is', 'rows are')} longer" if over else "none is longer"
        text.append(f"\n{rows} than {lengths.whose} {lengths.limit:,}")
    return text


def _bar(share: float, room: int, beyond: bool) -> Text:
    """Return a bar; one of rows beyond the limit has a look of its own, not a colour alone."""
    halves = max(1, round(share * room * 2)) if share else 0
    if beyond:
        drawn, style = _BEYOND * -(-halves // 2), palette.WARNING
    else:
        drawn, style = _WITHIN * (halves // 2) + _HALF * (halves % 2), palette.ACCENT
    return Text.assemble((drawn, style), " " * (room - len(drawn)))


def _bin_of_limit(lengths: Lengths) -> int | None:
    """Return the place of the range in which the limit falls, None where no row is so long."""
    if lengths.limit is None:
        return None
    places = (place for place, (edge, _) in enumerate(lengths.bins) if edge >= lengths.limit)
    return next(places, None)


def _merged(lengths: Lengths, most: int) -> Lengths:
    """Return the lengths in at most ``most`` ranges: neighbours become one."""
    bins = list(lengths.bins)
    each = -(-len(bins) // max(1, most))
    groups = [bins[at : at + each] for at in range(0, len(bins), each)]
    return replace(lengths, bins=[(group[-1][0], sum(n for _, n in group)) for group in groups])


def _bins(ordered: list[int]) -> list[tuple[int, int]]:
    """Return ranges, each wider than the one before by the same factor: lengths spread over
    magnitudes."""
    least, most = max(ordered[0], 1), max(ordered[-1], 1)
    factor = max((most / least) ** (1 / _BINS), 1.0)
    edges = sorted({min(most, round(least * factor**n)) for n in range(1, _BINS)} | {most})
    bins, below = [], 0
    for edge in edges:
        upto = sum(value <= edge for value in ordered)
        bins.append((edge, upto - below))
        below = upto
    return bins
