"""``compare``: runs side by side."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ftwizard.cli import output
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import default_run, describe
from ftwizard.runs.comparison import (
    Comparison,
    compare,
    find_runs,
    format_scores,
    format_settings,
    format_verdicts,
    read_side,
    to_report,
)
from ftwizard.text import make_visible

if TYPE_CHECKING:
    from rich.table import Table


def run(arguments: argparse.Namespace) -> int:
    """Compare runs: as tables, as JSON, or on a screen with their loss curves."""
    folders = find_runs(arguments.runs) if arguments.runs else _find_newest()
    if arguments.curves:
        if not output.wants_screens(arguments):
            raise FtwizardError(
                "--curves needs a terminal that can show screens.", "Remove --curves.", USAGE
            )
        paths = "\0".join(str(folder.path) for folder in folders)
        return int(arguments.open_screens(("compare", paths), arguments.ascii, slow=arguments.slow))
    sides = [read_side(folder, index) for index, folder in enumerate(folders)]
    comparison = compare(sides)
    if arguments.json:
        output.print_json(to_report(comparison))
        return 0
    out = output.make_console()
    if verdicts := format_verdicts(comparison):
        output.print_lines(out, *verdicts, "")
    states = [make_visible(describe.describe_state(side.record), 40) for side in comparison.sides]
    out.print(_build_table(comparison, [("", states), *format_scores(comparison)]))
    output.print_lines(out, *(f"! {line}" for line in comparison.reasons), "")
    if rows := format_settings(comparison):
        output.print_lines(out, "Different settings")
        out.print(_build_table(comparison, rows))
    else:
        output.print_lines(out, "All settings are equal.")
    names = " ".join(make_visible(side.id) for side in comparison.sides)
    if out.is_terminal:
        output.print_lines(out, f"Overlay the loss curves: ftwizard compare {names} --curves")
    return 0


def _find_newest() -> list[JobFolder]:
    """Return the two newest runs, and name them on stderr."""
    older, newer = default_run.choose_compared()
    print(f"Runs {older.id} and {newer.id}: the two newest.", file=sys.stderr)
    return [older, newer]


def _build_table(comparison: Comparison, rows: list[tuple[str, list[str]]]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("", overflow="fold")
    for side in comparison.sides:
        table.add_column(f"{side.label} {make_visible(side.id)}", justify="right", overflow="fold")
    for name, cells in rows:
        table.add_row(make_visible(name), *map(make_visible, cells))
    return table
