"""What a run answers to its fixed prompts as it learns, and the rows that it finds hardest."""

from __future__ import annotations

import math
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
from ftwizard.screens.beside import beside
from ftwizard.screens.scrolling import ScrollingPage
from ftwizard.screens.widgets.menu import Line
from ftwizard.text import visible

WIDE = 110
"""Columns from which on answers of three steps stand side by side."""
MOST_LINES = 8
"""Of one answer."""
LABEL = 10
"""Cells of what stands before an answer, where that is no longer."""


class Answers(ScrollingPage):
    """Scrolls through the prompts, each with its answers over time, then the hardest rows.

    Where these are in sight, up and down go from one to the next. Left and right choose the
    evaluation whose answers stand between the first and the newest; it is the best by itself.
    """

    NAME = "Answers"
    HELP = (
        "A few fixed prompts are answered before the first step and at every evaluation, always by "
        "the likeliest token. The plan's `samples` says which, how many and how long; without it "
        "three validation rows are asked.\n\n"
        "The first answer, the one at the best validation loss and the newest stand together. Left "
        "and right go through the evaluations in between, one by one; the top line says which, and "
        "its validation loss.\n\n"
        "Below stand the validation rows with the highest loss a token: wrong labels show up there. "
        "Enter opens the one with the mark as it stands in its file."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "row", "open the row", key_display="enter"),
        Binding("right,l", "middle(1)", "evaluation", key_display="←→"),
        Binding("left,h", "middle(-1)", "evaluation", show=False),
    ]

    def __init__(self, follower: Follower, plan: Plan | None) -> None:
        """``plan``: the run's, None where it cannot be read."""
        super().__init__(follower)
        self._plan = plan
        self._shown: list[Line] = []
        self._chosen: int | None = None
        """The step whose answers stand in the middle; None while they are those at the best."""
        self._told = ""
        """Of that evaluation, in the top line."""

    def on_mount(self) -> None:
        self.watch(self._menu, "scroll_y", self.refresh_bindings, init=False)
        self.set_interval(1.0, self._show)
        self._show()

    def on_resize(self) -> None:
        self._show()

    def _show(self) -> None:
        if not self.size.width:
            return
        shown = lines(self._follower.shown, self.size.width - 6, self._plan, self._middle())
        told = said(self._follower.shown, self._middle())
        if told != self._told:
            self._told = told
            self.say_line()
        if shown != self._shown:
            self._shown, top = shown, self._menu.scroll_offset.y
            self._menu.show(shown)
            self._menu.scroll_to(y=top, animate=False)  # not to where the mark is
        self.call_after_refresh(self.refresh_bindings)

    def top_line(self) -> Text:
        return super().top_line().append(self._told)

    def _middle(self) -> int | None:
        """Return the step whose answers stand in the middle, None where there are none."""
        progress = self._follower.shown
        return self._chosen if self._chosen in steps(progress) else standard(progress)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "middle":
            return len(steps(self._follower.shown)) > 1
        return action != "row" or self._menu.shows_cursor

    def action_middle(self, by: int) -> None:
        """Put the answers of the next evaluation in the middle, or of the one before."""
        progress, now = self._follower.shown, self._middle()
        if now is None:
            return
        further = [one for one in steps(progress) if (one > now if by > 0 else one < now)]
        if further:
            step = min(further) if by > 0 else max(further)
            self._chosen = None if step == standard(progress) else step
            self._show()

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
        if not await beside(file_names.exists, Path(chosen.path)):
            gone = f"The file that this row is in is gone: {visible(chosen.path, 300)}."
            await self.app.push_screen_wait(Problem(FtwizardError(gone, "Put it back to see it.")))
            return
        try:
            hashes = (await beside(folder.read_job)).hashes
        except (OSError, FtwizardError):
            hashes = {}
        part = id.partition(":")[0]
        self.app.push_screen(hardest.HardestPage(chosen, hashes.get(part)))


def lines(progress: Progress, width: int, plan: Plan | None, middle: int | None) -> list[Line]:
    """Return prompts with their answers, then the hardest rows, ``width`` cells wide.

    ``middle``: the step whose answers stand between the first and the newest.
    """
    shown: list[Line] = []
    moved = middle if len(steps(progress)) > 1 else None
    for index, answers in sorted(progress.samples.items()):
        if answers:
            shown += _prompt(index, chosen(answers, middle), width, moved)
    if not shown:
        words = "No prompt has been answered yet, or the plan's samples are off."
        shown = [Line(Text(words, "dim")), Line(Text())]
    if progress.hardest:
        shown += hardest.lines(progress.hardest, width, plan)
    return shown


def chosen(answers: list[Event], middle: int | None) -> list[Event]:
    """Return of one prompt's answers the first, the one at a step, and the newest."""
    there = [one for one in answers if one.get("step") == middle]
    found = {one.get("step"): one for one in (*answers[:1], *there[-1:], *answers[-1:])}
    return list(found.values())


def standard(progress: Progress) -> int | None:
    """Return the step whose answers stand in the middle while none is chosen: that of the best
    evaluation, the newest where it has no answers."""
    answered = _answered(progress)
    if not answered:
        return None
    return progress.best_step if progress.best_step in answered else answered[-1]


def steps(progress: Progress) -> list[int]:
    """Return the steps whose answers may stand in the middle, in order: those between the first
    and the newest, and the one that stands there by itself."""
    by_itself = standard(progress)
    return sorted({*_answered(progress)[1:-1], *(() if by_itself is None else (by_itself,))})


def said(progress: Progress, middle: int | None) -> str:
    """Say which evaluation stands in the middle, and its validation loss."""
    if middle is None:
        return ""
    loss = next((y for _, y in progress.evaluations.points(middle, middle)), math.nan)
    words = f"validation loss {loss:.4f}" if math.isfinite(loss) else "no validation loss"
    best = ", best" if middle == progress.best_step else ""
    return f"   {_step(middle)}: {words}{best}"


def _answered(progress: Progress) -> list[int]:
    return sorted({one["step"] for answers in progress.samples.values() for one in answers})


def _prompt(index: int, answers: list[Event], width: int, moved: int | None) -> list[Line]:
    """``moved``: the step that left and right change, None where there is no other."""
    first = answers[0]
    prompt = visible(str(first.get("prompt") or ""), 400)
    shown = [Line(Text.assemble((f"{index + 1}  ", "dim"), (prompt, "bold")))]
    labels = [
        f"‹ {_step(one['step'])} ›" if one["step"] == moved else _step(one["step"])
        for one in answers
    ]
    head = max(LABEL, len(_step(answers[-1]["step"])) + (0 if moved is None else 4))
    if first.get("expected"):
        shown += _labelled("expected", head, first, "expected", width, palette.GOOD)
    if width >= WIDE and len(answers) > 1:
        shown += _side_by_side(labels, answers, width)
    else:
        for label, one in zip(labels, answers, strict=True):
            shown += _labelled(label, head, one, "answer", width, "")
    return [*shown, Line(Text())]


def _side_by_side(labels: list[str], answers: list[Event], width: int) -> list[Line]:
    each = (width - 3) // len(answers) - 2
    columns = [
        [Text(label, "dim"), *_wrapped(one, "answer", each)]
        for label, one in zip(labels, answers, strict=True)
    ]
    rows = []
    for place in range(max(map(len, columns))):
        row = Text("   ")
        for column in columns:
            cell = column[place] if place < len(column) else Text()
            row.append_text(cell).append(" " * (each + 2 - cell.cell_len))
        row.rstrip()
        rows.append(Line(row))
    return rows


def _labelled(label: str, head: int, event: Event, name: str, width: int, style: str) -> list[Line]:
    """``head``: the cells of the label."""
    parts = _wrapped(event, name, max(20, width - head - 5), style)
    labels = [label, *[""] * (len(parts) - 1)]
    return [
        Line(Text.assemble("   ", (f"{one:<{head}}", "dim"), "  ", part))
        for one, part in zip(labels, parts, strict=True)
    ]


def _wrapped(event: Event, name: str, width: int, style: str = "") -> list[Text]:
    words = visible(str(event.get(name) or ""), 2000) or "(nothing)"
    if name == "answer" and event.get("truncated"):
        words += " …"
    parts = list(Text(words, style).wrap(Console(width=width), max(8, width)))
    if len(parts) > MOST_LINES:
        parts = [*parts[: MOST_LINES - 1], Text("…", "dim")]
    return parts


def _step(step: int) -> str:
    return "base" if step == 0 else f"step {step:,}"
