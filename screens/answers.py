"""What a run answers to its fixed prompts as it learns, and the rows that it finds hardest."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

from rich.console import Console
from rich.text import Text
from textual import work
from textual.binding import Binding, BindingType

from ftwizard import file_names
from ftwizard.errors import FtwizardError
from ftwizard.follow import Follower
from ftwizard.jobs.events import Event
from ftwizard.plan import Plan
from ftwizard.runs import Progress
from ftwizard.screens import hardest, palette
from ftwizard.screens.scrolling import ScrollingPage
from ftwizard.screens.widgets.menu import Line
from ftwizard.text import visible

WIDE = 110
"""Columns from which on answers of three steps stand side by side."""
MOST_LINES = 8
"""Of one answer."""


class Answers(ScrollingPage):
    """Scrolls through the prompts, each with its answers over time, then the hardest rows.

    Where these are in sight, up and down go from one to the next.
    """

    NAME = "Answers"
    HELP = (
        "A few fixed prompts are answered before the first step and at every evaluation, always by "
        "the likeliest token. The plan's `samples` says which, how many and how long; without it "
        "three validation rows are asked.\n\n"
        "Below stand the validation rows with the highest loss a token: wrong labels show up there. "
        "Enter opens the one with the mark as it stands in its file."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "row", "open the row", key_display="enter"),
    ]

    def __init__(self, follower: Follower, plan: Plan | None) -> None:
        """``plan``: the run's, None where it cannot be read."""
        super().__init__(follower)
        self._plan = plan
        self._shown: list[Line] = []

    def on_mount(self) -> None:
        self.watch(self._menu, "scroll_y", self.refresh_bindings, init=False)
        self.set_interval(1.0, self._show)
        self._show()

    def on_resize(self) -> None:
        self._show()

    def _show(self) -> None:
        if not self.size.width:
            return
        shown = lines(self._follower.shown, self.size.width - 6, self._plan)
        if shown != self._shown:
            self._shown, top = shown, self._menu.scroll_offset.y
            self._menu.show(shown)
            self._menu.scroll_to(y=top, animate=False)  # not to where the mark is
        self.call_after_refresh(self.refresh_bindings)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action != "row" or self._menu.shows_cursor

    def action_scroll(self, by: int) -> None:
        if self._menu.shows_cursor and self._menu.can_move(by):
            self._menu.action_move(by)
        else:
            super().action_scroll(by)

    @work(group="row", exclusive=True, exit_on_error=False)
    async def action_row(self) -> None:
        """Show the row with the mark as it stands in its file."""
        from ftwizard.screens.problem import Problem

        event, id, folder = self._follower.shown.hardest, self._menu.chosen, self._follower.folder
        if event is None or id is None or self._plan is None:
            return
        chosen = hardest.rows(event, id, self._plan)
        if not await asyncio.to_thread(file_names.exists, Path(chosen.path)):
            gone = f"The file that this row is in is gone: {visible(chosen.path, 300)}."
            await self.app.push_screen_wait(Problem(FtwizardError(gone, "Put it back to see it.")))
            return
        try:
            hashes = (await asyncio.to_thread(folder.read_job)).hashes
        except (OSError, FtwizardError):
            hashes = {}
        part = id.partition(":")[0]
        self.app.push_screen(hardest.HardestPage(chosen, hashes.get(part)))


def lines(progress: Progress, width: int, plan: Plan | None) -> list[Line]:
    """Return prompts with their answers, then the hardest rows, ``width`` cells wide."""
    shown: list[Line] = []
    for index, answers in sorted(progress.samples.items()):
        shown += _prompt(index, chosen(answers, progress.best_step), width)
    if not shown:
        words = "No prompt has been answered yet, or the plan's samples are off."
        shown = [Line(Text(words, "dim")), Line(Text())]
    if progress.hardest:
        shown += hardest.lines(progress.hardest, width, plan)
    return shown


def chosen(answers: list[Event], best: int | None) -> list[Event]:
    """Return of one prompt's answers the first, the one at the best evaluation, and the newest."""
    at_best = [one for one in answers if one.get("step") == best]
    found = {one.get("step"): one for one in (*answers[:1], *at_best[-1:], *answers[-1:])}
    return list(found.values())


def _prompt(index: int, answers: list[Event], width: int) -> list[Line]:
    first = answers[0]
    shown = [
        Line(
            Text.assemble(
                (f"{index + 1}  ", "dim"), (visible(str(first.get("prompt") or ""), 400), "bold")
            )
        )
    ]
    if first.get("expected"):
        shown += _labelled("expected", first, "expected", width, palette.GOOD)
    if width >= WIDE and len(answers) > 1:
        shown += _side_by_side(answers, width)
    else:
        for one in answers:
            shown += _labelled(_step(one), one, "answer", width, "")
    return [*shown, Line(Text())]


def _side_by_side(answers: list[Event], width: int) -> list[Line]:
    each = (width - 3) // len(answers) - 2
    columns = [[Text(_step(one), "dim"), *_wrapped(one, "answer", each)] for one in answers]
    rows = []
    for place in range(max(map(len, columns))):
        row = Text("   ")
        for column in columns:
            cell = column[place] if place < len(column) else Text()
            row.append_text(cell).append(" " * (each + 2 - cell.cell_len))
        row.rstrip()
        rows.append(Line(row))
    return rows


def _labelled(label: str, event: Event, name: str, width: int, style: str) -> list[Line]:
    room = max(20, width - 15)
    parts = _wrapped(event, name, room, style)
    heads = [label, *[""] * (len(parts) - 1)]
    return [
        Line(Text.assemble("   ", (f"{head:<10}", "dim"), "  ", part))
        for head, part in zip(heads, parts, strict=True)
    ]


def _wrapped(event: Event, name: str, width: int, style: str = "") -> list[Text]:
    words = visible(str(event.get(name) or ""), 2000) or "(nothing)"
    if name == "answer" and event.get("truncated"):
        words += " …"
    parts = list(Text(words, style).wrap(Console(width=width), max(8, width)))
    if len(parts) > MOST_LINES:
        parts = [*parts[: MOST_LINES - 1], Text("…", "dim")]
    return parts


def _step(event: Event) -> str:
    step = event.get("step")
    return "base" if step == 0 else f"step {step:,}" if isinstance(step, int) else "step ?"
