"""What home lists, as text: what can be begun, and a line a run; pure functions."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from rich.text import Text

from ftwizard import side_by_side
from ftwizard.follow import Follower
from ftwizard.screens import palette
from ftwizard.screens.states import state
from ftwizard.screens.widgets.menu import Line
from ftwizard.screens.widgets.sparkline import sparkline
from ftwizard.text import age, visible

RUN = "run:"
"""Begins the id of a line of a run."""
SPARK_CELLS = 12
LEAST_NAME = 12
OTHERS = 56
"""Cells of all columns but the name, and of what stands before the line."""
ACTIONS = (
    ("new", "n", "New fine-tune", "from your rows to a merged model, step by step"),
    ("demo", "d", "Demo", "a real small fine-tune, end to end, in about five minutes"),
    ("doctor", "o", "Doctor", "what this machine can do, and what is missing"),
)


def actions() -> list[Line]:
    """Return what can be begun, and a gap."""
    lines = [
        Line(Text.assemble((f"{name:<16}", "bold"), (what, "dim")), id)
        for id, _, name, what in ACTIONS
    ]
    return [*lines, Line(Text())]


def listed(runs: Iterable[Follower], marked: Sequence[str], columns: int) -> list[Line]:
    """Return a heading and a line a run, in their order; ``marked`` ones bear their letters."""
    has_room = columns >= OTHERS + LEAST_NAME  # the losses are drawn too
    others = OTHERS if has_room else OTHERS - SPARK_CELLS
    width = max(LEAST_NAME, columns - others)
    losses = f"{'loss':<{SPARK_CELLS}}" if has_room else ""
    heading = f"{'runs':<{width}}  {'state':<20}{'best loss':>10}  {losses}{'updated':>8}"
    lines = [Line(Text(heading, "dim"))]
    for one in runs:
        id = one.folder.id
        letter = ""
        if marked:
            letter = f"{side_by_side.label(marked.index(id))} " if id in marked else "  "
        lines.append(Line(_row(one, letter, width, has_room=has_room), f"{RUN}{id}"))
    return lines


def note(*said: str) -> list[Line]:
    """Return lines that only say something."""
    return [Line(Text(one, "dim")) for one in said if one]


def _row(follower: Follower, letter: str, width: int, *, has_room: bool) -> Text:
    report = follower.report
    name = letter + visible(follower.folder.id)
    if len(name) > width:
        name = name[: width - 1] + "…"
    best = report.best_eval_loss if report.best_eval_loss is not None else report.loss
    since = age(time.time() - report.updated) if report.updated else ""
    row = Text(f"{name:<{width}}  ", no_wrap=True)
    if letter.strip():
        row.stylize(f"bold {palette.ACCENT}", 0, 1)
    said, style = state(report)
    row.append(f"{said:<20}", style)
    row.append(f"{'' if best is None else format(best, '.4g'):>10}  ")
    if has_room:
        losses = sparkline(follower.shown.losses, SPARK_CELLS)
        row.append(f"{losses:<{SPARK_CELLS}}", palette.ACCENT)
    return row.append(f"{since:>8}", "dim")
