"""Highest-loss validation examples of a run, and the page that shows one in its file."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.text import Text
from textual import work
from textual.widgets import Static

from ftwizard.advice import run_history
from ftwizard.background import run_in_thread
from ftwizard.jobs.events import Event, to_count, to_number
from ftwizard.plan.schema import Plan
from ftwizard.screens import palette
from ftwizard.screens.widgets.menu import MenuLine
from ftwizard.screens.wizard.data.rows import RowSelection, RowsPage
from ftwizard.text import format_count, make_visible

CHANGED = "This file changed after the run started. The row may not be the one that was measured."
MIN_ANSWER_CELLS = 24
"""Free cells after an example's beginning from which its answer is shown too."""


def build_lines(event: Event, width: int, plan: Plan | None) -> list[MenuLine]:
    """Return the examples of a ``rows`` event, highest loss first; those with an id can be opened.

    ``plan`` is the run's plan, None if it could not be read.
    """
    heading = Text.assemble((_format_title(event), "bold"), ("   loss/token, row, text", "dim"))
    lines = [MenuLine(heading)]
    ids: set[str] = set()
    for row in event["rows"]:
        if (loss := to_number(row.get("loss"))) is None:
            continue
        id = _make_id(row, plan)
        lines.append(MenuLine(_format_row(row, loss, width), None if id in ids else id))
        ids.add(id or "")
    footer = f"   {format_count(len(event['rows']), 'example')}, highest loss first"
    return [*lines, MenuLine(Text(footer, "dim"))]


def select_rows(event: Event, id: str, plan: Plan) -> RowSelection:
    """Return the example with this id, and the other ones of its file, for a page."""
    part, _, line = id.partition(":")
    ids = dict.fromkeys(_make_id(row, plan) for row in event["rows"])
    numbers = [int(i.rpartition(":")[2]) for i in ids if i and i.startswith(f"{part}:")]
    path = _find_path(part, plan)
    heading = Text.assemble((_format_title(event), "bold"), f"  {make_visible(path, 200)}")
    return RowSelection(heading, path, numbers, plan, "trl-sft", at=int(line))


class HighestLossPage(RowsPage):
    """Rows of a run's data, with a warning if the file changed after the run started."""

    STEP: ClassVar[int | None] = None

    def __init__(self, rows: RowSelection, recorded: str | None) -> None:
        """``recorded`` is the file's hash at the start of the run, None if unknown."""
        super().__init__(rows)
        self._recorded_hash = recorded

    def on_mount(self) -> None:
        if self._recorded_hash is not None:
            self._compare()

    @work(group="changed", exit_on_error=False)
    async def _compare(self) -> None:
        current_hash = await run_in_thread(run_history.hash_rows, self._rows.path)
        if current_hash not in (None, self._recorded_hash):
            warning = Text.assemble("\n", ("! ", palette.WARNING), CHANGED)
            self.query_one("#heading", Static).update(self._rows.heading + warning)


def _format_title(event: Event) -> str:
    return f"Highest-loss validation examples at step {event['step']:,}"


def _format_row(row: dict[str, Any], loss: float, width: int) -> Text:
    head = f"   {loss:7.3f}  {make_visible(str(row.get('row')), 12):>7}  "
    text = Text(make_visible(str(row.get("start") or ""), 400))
    text.truncate(max(20, width - 4 - len(head)), overflow="ellipsis")
    answer = make_visible(str(row.get("answer") or ""), 60)
    fits = answer and text.cell_len + len(head) + MIN_ANSWER_CELLS < width
    return Text.assemble(head, text, (f"  → {answer}" if fits else "", "dim"))


def _make_id(row: dict[str, Any], plan: Plan | None) -> str | None:
    """Return ``part:line`` of a row, None if its file or line is unknown."""
    line, part = to_count(row.get("row")), row.get("file")
    has_path = line and plan and isinstance(part, str) and _find_path(part, plan)
    return f"{part}:{line}" if has_path else None


def _find_path(part: str, plan: Plan) -> str:
    files = plan.data.files
    return {"train": files.train, "validation": files.validation}.get(part) or ""
