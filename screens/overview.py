"""What stands beside the line that leads on: how long rows are, what is to be known, what can be
done with the file."""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text

from ftwizard.data import targets
from ftwizard.screens import histogram, palette, reports, texts
from ftwizard.screens.draft import Draft
from ftwizard.screens.histogram import Lengths
from ftwizard.screens.reports import Report
from ftwizard.text import visible

_LEAST_BARS = 7
"""Lines of a histogram that can still be read."""
_MOST_BARS = 20
TOOLS: tuple[tuple[str, str, Callable[[Report], bool]], ...] = (
    ("f", "repairs what is sure, into a new file", lambda found: bool(found["findings"])),
    ("s", "splits off a file that validates", lambda found: bool(found["usable"])),
    ("c", "converts for another place to train", reports.can_convert),
)
"""Keys, what they do, and whether a report gives cause for it."""


def lengths(found: Report, draft: Draft) -> Lengths | None:
    """Return how long rows are, and the limit for what they are trained on."""
    if draft.target == "trl-sft":
        most = draft.plan.recipe.max_length
        return histogram.lengths(found, most, "the recipe's")
    named = targets.targets().get(str(found.get("target") or draft.target))
    if named is None or named.max_tokens is None:
        return histogram.lengths(found, None)
    return histogram.lengths(found, named.max_tokens, "the target's")


def bars(found: Report, draft: Draft, width: int, height: int) -> Text:
    """Return the histogram; empty where no lengths are known."""
    known = lengths(found, draft)
    if known is None:
        return Text()
    return histogram.draw(known, width, max(_LEAST_BARS, min(_MOST_BARS, height)))


def overview(
    found: Report,
    draft: Draft,
    room: tuple[int, int],
    *,
    with_bars: bool,
) -> Text:
    """Return the whole in ``room`` (cells, lines): lengths, notes, and what can be done."""
    width, height = room
    notes = Text()
    for note in (*(found.get("notes") or []), *reports.suggestions(found)):
        notes.append("· ", "dim").append(f"{visible(str(note), 300)}\n")
    keys = Text("\n").join(
        Text.assemble((key, f"bold {palette.ACCENT}"), f"  {what}")
        for key, what, needed in TOOLS
        if needed(found) and not found.get("partial")
    )
    notes = texts.hanging(notes, 2, width) if notes else notes
    below = [part for part in (notes, keys) if part]
    if with_bars and (known := lengths(found, draft)):
        used = sum(part.plain.count("\n") + 2 for part in below)
        drawn = histogram.draw(known, width, max(_LEAST_BARS, min(_MOST_BARS, height - used)))
        below.insert(0, drawn)
    return Text("\n\n").join(below)
