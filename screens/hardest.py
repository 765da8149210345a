"""The validation rows that a run finds hardest, each to be looked at where it stands in its file."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.text import Text
from textual import work
from textual.widgets import Static

from ftwizard import earlier
from ftwizard.jobs.events import Event, count, number
from ftwizard.plan import Plan
from ftwizard.screens import palette
from ftwizard.screens.beside import beside
from ftwizard.screens.rows import Rows, RowsPage
from ftwizard.screens.widgets.menu import Line
from ftwizard.text import plural, visible

CHANGED = "This file has changed since the run began: a row may be another than the one that was measured."
LEAST_ANSWER = 24
"""Cells that must be left beside a row's beginning for its answer to be shown too."""


def lines(event: Event, width: int, plan: Plan | None) -> list[Line]:
    """Return the rows of a ``rows`` event, worst first; each that can be opened has an id.

    ``plan``: the run's, None where it cannot be read.
    """
    shown = [
        Line(
            Text.assemble(
                (_title(event), "bold"), ("   loss a token, row, how it begins", "dim")
            )
        )
    ]  # fmt: skip
    known: set[str] = set()
    for row in event["rows"]:
        if (loss := number(row.get("loss"))) is None:
            continue
        id = _id(row, plan)
        shown.append(Line(_row(row, loss, width), None if id in known else id))
        known.add(id or "")
    shown.append(Line(Text(f"   {plural(len(event['rows']), 'row')}, the hardest first", "dim")))
    return shown


def rows(event: Event, id: str, plan: Plan) -> Rows:
    """Return what a page shows of the row with this id, and of the others of its file."""
    part, _, line = id.partition(":")
    ids = dict.fromkeys(_id(row, plan) for row in event["rows"])
    numbers = [int(one.rpartition(":")[2]) for one in ids if one and one.startswith(f"{part}:")]
    path = _file(part, plan)
    heading = Text.assemble((_title(event), "bold"), f"  {visible(path, 200)}")
    return Rows(heading, path, numbers, plan, "trl-sft", at=int(line))


class HardestPage(RowsPage):
    """Rows of a run's data; says where their file has changed since the run began."""

    STEP: ClassVar[int | None] = None

    def __init__(self, rows: Rows, recorded: str | None) -> None:
        """``recorded``: the hash of the file as the run began, None where it is not known."""
        super().__init__(rows)
        self._recorded = recorded

    def on_mount(self) -> None:
        if self._recorded is not None:
            self._compare()

    @work(group="changed", exit_on_error=False)
    async def _compare(self) -> None:
        now = await beside(earlier.hash_of, self._rows.path)
        if now not in (None, self._recorded):
            warning = Text.assemble("\n", ("! ", palette.WARNING), CHANGED)
            self.query_one("#heading", Static).update(self._rows.heading + warning)


def _title(event: Event) -> str:
    return f"Hardest of the validation rows, at step {event['step']:,}"


def _row(row: dict[str, Any], loss: float, width: int) -> Text:
    head = f"   {loss:7.3f}  {visible(str(row.get('row')), 12):>7}  "
    words = Text(visible(str(row.get("start") or ""), 400))
    words.truncate(max(20, width - 4 - len(head)), overflow="ellipsis")
    answer = visible(str(row.get("answer") or ""), 60)
    beside = answer and words.cell_len + len(head) + LEAST_ANSWER < width
    return Text.assemble(head, words, (f"  → {answer}" if beside else "", "dim"))


def _id(row: dict[str, Any], plan: Plan | None) -> str | None:
    """Return ``part:line`` of a row, None where its file or its line is not known."""
    line, part = count(row.get("row")), row.get("file")
    known = line and plan and isinstance(part, str) and _file(part, plan)
    return f"{part}:{line}" if known else None


def _file(part: str, plan: Plan) -> str:
    files = plan.data.files
    return {"train": files.train, "validation": files.validation}.get(part) or ""
