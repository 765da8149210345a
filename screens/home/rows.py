"""Lines of the home page: actions and runs, as pure functions."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from rich.text import Text

from ftwizard.runs import comparison
from ftwizard.runs.follower import Follower
from ftwizard.screens import palette
from ftwizard.screens.chart.sparkline import draw_sparkline
from ftwizard.screens.home.run_state import describe_state
from ftwizard.screens.widgets.menu import MenuLine
from ftwizard.text import format_age, make_visible

RUN = "run:"
"""Prefix of a run's line id."""
SPARK_CELLS = 12
MIN_NAME_CELLS = 12
OTHER_CELLS = 56
"""Cells of all columns but the name, and of the cursor."""
ACTIONS = (
    ("new", "n", "New fine-tune", "from your data to a merged model, step by step"),
    ("demo", "d", "Demo", "a small but complete fine-tune in about five minutes"),
    ("doctor", "o", "Doctor", "what this machine can do and what is missing"),
)


def build_actions() -> list[MenuLine]:
    """Return a line per action, and a gap."""
    lines = [
        MenuLine(Text.assemble((f"{name:<16}", "bold"), (description, "dim")), id)
        for id, _, name, description in ACTIONS
    ]
    return [*lines, MenuLine(Text())]


def build_runs(runs: Iterable[Follower], marked: Sequence[str], columns: int) -> list[MenuLine]:
    """Return a heading and one line per run, in order; ``marked`` runs get their letters."""
    show_losses = columns >= OTHER_CELLS + MIN_NAME_CELLS
    other_cells = OTHER_CELLS if show_losses else OTHER_CELLS - SPARK_CELLS
    width = max(MIN_NAME_CELLS, columns - other_cells)
    losses = f"{'loss':<{SPARK_CELLS}}" if show_losses else ""
    heading = f"{'runs':<{width}}  {'state':<20}{'best loss':>10}  {losses}{'updated':>8}"
    lines = [MenuLine(Text(heading, "dim"))]
    for follower in runs:
        id = follower.folder.id
        letter = ""
        if marked:
            letter = f"{comparison.get_label(marked.index(id))} " if id in marked else "  "
        lines.append(
            MenuLine(_build_row(follower, letter, width, show_losses=show_losses), f"{RUN}{id}")
        )
    return lines


def build_notes(*messages: str) -> list[MenuLine]:
    """Return lines that cannot be chosen, one per message."""
    return [MenuLine(Text(message, "dim")) for message in messages if message]


def _build_row(follower: Follower, letter: str, width: int, *, show_losses: bool) -> Text:
    report = follower.run_status
    name = letter + make_visible(follower.folder.id)
    if len(name) > width:
        name = name[: width - 1] + "…"
    best = report.best_eval_loss if report.best_eval_loss is not None else report.loss
    updated = format_age(time.time() - report.updated) if report.updated else ""
    row = Text(f"{name:<{width}}  ", no_wrap=True)
    if letter.strip():
        row.stylize(f"bold {palette.ACCENT}", 0, 1)
    state, style = describe_state(report)
    row.append(f"{state:<20}", style)
    row.append(f"{'' if best is None else format(best, '.4g'):>10}  ")
    if show_losses:
        losses = draw_sparkline(follower.shown.losses, SPARK_CELLS)
        row.append(f"{losses:<{SPARK_CELLS}}", palette.ACCENT)
    return row.append(f"{updated:>8}", "dim")
