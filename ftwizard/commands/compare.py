"""``compare``: runs side by side."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ftwizard import side_by_side, words
from ftwizard.commands import output
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.side_by_side import Comparison
from ftwizard.text import visible

if TYPE_CHECKING:
    from rich.table import Table


def run(arguments: argparse.Namespace) -> int:
    """Hold runs against each other: as tables, as JSON, or with their curves on a screen."""
    folders = side_by_side.find(arguments.runs)
    if arguments.curves:
        if not output.wants_screens(arguments):
            raise FtwizardError(
                "Curves need a terminal that shows screens.", "Leave --curves out.", USAGE
            )
        paths = "\0".join(str(one.path) for one in folders)
        return int(arguments.door(("compare", paths), arguments.ascii, slow=arguments.slow))
    sides = [side_by_side.side(one, place) for place, one in enumerate(folders)]
    found = side_by_side.compare(sides)
    if arguments.json:
        output.print_json(side_by_side.document(found))
        return 0
    out = output.console()
    out.print(_table(found, [("", [visible(words.state(one.record), 40) for one in found.sides]),
                             *side_by_side.score_rows(found)]))  # fmt: skip
    for line in found.why:
        output.say(out, f"! {line}")
    out.print()
    if rows := side_by_side.setting_rows(found):
        output.say(out, "Settings that differ")
        out.print(_table(found, rows))
    else:
        output.say(out, "No setting differs.")
    named = " ".join(visible(one.id) for one in found.sides)
    if out.is_terminal:
        output.say(out, f"Curves over each other: ftwizard compare {named} --curves")
    return 0


def _table(found: Comparison, rows: list[tuple[str, list[str]]]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("", overflow="fold")
    for one in found.sides:
        table.add_column(f"{one.label} {visible(one.id)}", justify="right", overflow="fold")
    for name, cells in rows:
        table.add_row(visible(name), *map(visible, cells))
    return table
