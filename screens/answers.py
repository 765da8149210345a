"""What a run answers to its fixed prompts as it learns, and the rows that it finds hardest."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from ftwizard.follow import Follower
from ftwizard.jobs.events import Event
from ftwizard.runs import Progress
from ftwizard.screens import palette
from ftwizard.screens.page import Page
from ftwizard.screens.widgets.menu import Line, Menu
from ftwizard.text import plural, visible

WIDE = 110
"""Columns from which on answers of three steps stand side by side."""
MOST_LINES = 8
"""Of one answer."""


class Answers(Page[None]):
    """Scrolls through the prompts, each with its answers over time, then the hardest rows."""

    NAME = "Answers"
    HELP = (
        "A few fixed prompts are answered before the first step and at every evaluation, always by "
        "the likeliest token. The plan's `samples` says which, how many and how long; without it "
        "three validation rows are asked.\n\n"
        "Below stand the validation rows with the highest loss a token: wrong labels show up there. "
        "Look at one with `ftwizard check` or in the data page, by its line."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll(-1)", "up", key_display="↑"),
        Binding("down,j", "scroll(1)", "down", key_display="↓"),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
    ]

    def __init__(self, follower: Follower) -> None:
        super().__init__()
        self._follower = follower

    def body(self) -> ComposeResult:
        menu = Menu(id="answers")
        menu.can_focus = False  # nothing is chosen: its keys would hide those that scroll
        yield menu

    def on_mount(self) -> None:
        self.set_interval(1.0, self._show)
        self._show()

    def on_resize(self) -> None:
        self._show()

    def _show(self) -> None:
        if self.size.width:
            self.query_one(Menu).show(lines(self._follower.shown, self.size.width - 6))

    def action_scroll(self, by: int) -> None:
        self.query_one(Menu).scroll_relative(y=by, animate=False)

    def action_page(self, by: int) -> None:
        self.action_scroll(by * max(1, self.query_one(Menu).size.height - 1))


def lines(progress: Progress, width: int) -> list[Line]:
    """Return prompts with their answers, then the hardest rows, ``width`` cells wide."""
    shown: list[Line] = []
    for index, answers in sorted(progress.samples.items()):
        shown += _prompt(index, chosen(answers, progress.best_step), width)
    if not shown:
        words = "No prompt has been answered yet, or the plan's samples are off."
        shown = [Line(Text(words, "dim")), Line(Text())]
    if progress.hardest:
        shown += _hardest(progress.hardest, width)
    return shown


def chosen(answers: list[Event], best: int | None) -> list[Event]:
    """Return of one prompt's answers the first, the one at the best evaluation, and the newest."""
    at_best = [one for one in answers if one.get("step") == best]
    found = {one.get("step"): one for one in (*answers[:1], *at_best[-1:], *answers[-1:])}
    return list(found.values())


def _prompt(index: int, answers: list[Event], width: int) -> list[Line]:
    first = answers[0]
    shown = [
        Line(Text.assemble((f"{index + 1}  ", "dim"), (_short(first, "prompt", width), "bold")))
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


def _short(event: Event, name: str, width: int) -> str:
    words = visible(str(event.get(name) or ""), 400)
    room = max(20, width - 4)
    while cell_len(words) > room:
        words = words[: max(1, len(words) - (cell_len(words) - room) - 1)] + "…"
    return words


def _hardest(event: Event, width: int) -> list[Line]:
    rows: list[Any] = event["rows"]
    shown = [
        Line(
            Text.assemble(
                (f"Hardest of the validation rows, at step {event['step']:,}", "bold"),
                ("   loss a token, row, how it begins", "dim"),
            )
        )
    ]
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("loss"), int | float):
            continue
        head = f"   {row['loss']:7.3f}  {visible(str(row.get('row')), 12):>7}  "
        words = _short(row, "start", width - len(head))
        answer = visible(str(row.get("answer") or ""), 60)
        tail = f"  → {answer}" if answer and cell_len(words) + len(head) + 24 < width else ""
        shown.append(Line(Text.assemble((head, ""), words, (tail, "dim"))))
    shown.append(Line(Text(f"   {plural(len(rows), 'row')}, the hardest first", "dim")))
    return shown
