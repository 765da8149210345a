"""A run's answers to its fixed prompts over time, and its highest-loss examples."""

from __future__ import annotations

import math
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Console
from rich.text import Text
from textual import work
from textual.binding import Binding, BindingType
from textual.widgets import Static

from ftwizard import user_paths
from ftwizard.advice import run_history
from ftwizard.background import run_in_thread
from ftwizard.errors import FtwizardError
from ftwizard.jobs.events import Event, to_count, to_number
from ftwizard.plan.schema import Plan
from ftwizard.runs import store
from ftwizard.runs.follower import Follower
from ftwizard.runs.progress import Progress
from ftwizard.screens import palette
from ftwizard.screens.dialogs.dialog import ErrorDialog
from ftwizard.screens.monitor.log import ScrollingPage
from ftwizard.screens.widgets.menu import MenuLine
from ftwizard.screens.wizard.data.rows import RowSelection, RowsPage
from ftwizard.text import format_count, make_visible

MIN_SIDE_BY_SIDE = 110
"""Columns needed to show the answers of three steps side by side."""
MAX_LINES = 8
"""Lines shown of one answer."""
MIN_LABEL_CELLS = 10
CHANGED = "This file changed after the run started. The row may not be the one that was measured."
MIN_ANSWER_CELLS = 24
"""Free cells after an example's beginning from which its answer is shown too."""


class AnswersPage(ScrollingPage):
    """Scrolls through the prompts with their answers over time, then the highest-loss examples.

    When the examples are in view, up and down move between them. Left and right choose the
    evaluation shown between the first and the newest; the default is the best one.
    """

    NAME = "Answers"
    NOTES = (
        "Answers: the first, at the best validation loss, the newest.",
        "Prompts and lengths: `samples` in the plan.",
        "Below: validation examples with the highest loss per token.",
        "Wrong labels show up there.",
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter",
            "row",
            "open example",
            key_display="enter",
            tooltip="open the example in its file",
        ),
        Binding(
            "right,l",
            "middle(1)",
            "evaluation",
            key_display="←→",
            tooltip="step through the evaluations between",
        ),
        Binding(
            "left,h",
            "middle(-1)",
            "evaluation",
            show=False,
            tooltip="step through the evaluations between",
        ),
    ]

    def __init__(self, follower: Follower, plan: Plan | None) -> None:
        """``plan`` is the run's plan, None if it could not be read."""
        super().__init__(follower)
        self._plan = plan
        self._shown: list[MenuLine] = []
        self._chosen_step: int | None = None
        """The step shown in the middle; None for the default, the best evaluation."""
        self._evaluation_text = ""
        """Description of that evaluation, in the top line."""

    def on_mount(self) -> None:
        self.watch(self._menu, "scroll_y", self.refresh_bindings, init=False)
        self.set_interval(1.0, self._show)
        self._show()

    def on_resize(self) -> None:
        self._show()

    def _show(self) -> None:
        if not self.size.width:
            return
        progress, middle = self._follower.shown, self._middle_step()
        shown = build_lines(progress, self.size.width - 6, self._plan, middle)
        evaluation_text = describe_evaluation(progress, middle)
        if evaluation_text != self._evaluation_text:
            self._evaluation_text = evaluation_text
            self.refresh_top_line()
        if shown != self._shown:
            self._shown, top = shown, self._menu.scroll_offset.y
            self._menu.show(shown)
            self._menu.scroll_to(y=top, animate=False)  # keep the position, not the cursor
        self.call_after_refresh(self.refresh_bindings)

    def top_line(self) -> Text:
        return super().top_line().append(self._evaluation_text)

    def _middle_step(self) -> int | None:
        """Return the step shown in the middle, None if there are no answers."""
        progress, chosen = self._follower.shown, self._chosen_step
        return chosen if chosen in list_steps(progress) else default_step(progress)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "middle":
            return len(list_steps(self._follower.shown)) > 1
        return action != "row" or self._menu.is_cursor_visible

    def action_middle(self, by: int) -> None:
        progress, current = self._follower.shown, self._middle_step()
        if current is None:
            return
        steps = list_steps(progress)
        candidates = [step for step in steps if step * by > current * by]
        if candidates:
            step = min(candidates, key=lambda step: step * by)
            self._chosen_step = None if step == default_step(progress) else step
            self._show()

    def action_scroll(self, by: int) -> None:
        if self._menu.is_cursor_visible and self._menu.can_move(by):
            self._menu.action_move(by)
        else:
            super().action_scroll(by)

    @work(group="row", exclusive=True, exit_on_error=False)
    async def action_row(self) -> None:
        event, id = self._follower.shown.highest_loss_rows, self._menu.chosen
        if event is None or id is None or self._plan is None:
            return
        rows = select_rows(event, id, self._plan)
        if not await run_in_thread(user_paths.exists, Path(rows.path)):
            message = f"The data file no longer exists: {make_visible(rows.path, 300)}."
            error = FtwizardError(message, "Restore it to view this example.")
            await self.app.push_screen_wait(ErrorDialog(error))
            return
        job = await run_in_thread(store.read_job, self._follower.folder)
        recorded = job.hashes.get(id.partition(":")[0]) if job else None
        self.app.push_screen(HighestLossPage(rows, recorded))


def build_lines(
    progress: Progress, width: int, plan: Plan | None, middle: int | None
) -> list[MenuLine]:
    """Return prompts with answers (step ``middle`` between the first and the newest), then the
    highest-loss examples."""
    lines: list[MenuLine] = []
    movable = middle if len(list_steps(progress)) > 1 else None
    for index, answers in sorted(progress.samples.items()):
        if answers:
            lines += _build_prompt(index, select_answers(answers, middle), width, movable)
    if not lines:
        message = "No prompts answered yet, or samples are turned off in the plan."
        lines = [MenuLine(Text(message, "dim")), MenuLine(Text())]
    if progress.highest_loss_rows:
        lines += build_row_lines(progress.highest_loss_rows, width, plan)
    return lines


def select_answers(answers: list[Event], middle: int | None) -> list[Event]:
    at_middle = [answer for answer in answers if answer.get("step") == middle]
    selected = (*answers[:1], *at_middle[-1:], *answers[-1:])
    return list({answer.get("step"): answer for answer in selected}.values())


def default_step(progress: Progress) -> int | None:
    """Return the step of the best evaluation; the newest step if the best has no answers."""
    answered = _list_answered(progress)
    if not answered:
        return None
    return progress.best_step if progress.best_step in answered else answered[-1]


def list_steps(progress: Progress) -> list[int]:
    """Return the steps between the first and the newest, and the default one, in order."""
    default = default_step(progress)
    return sorted({*_list_answered(progress)[1:-1], *(() if default is None else (default,))})


def describe_evaluation(progress: Progress, middle: int | None) -> str:
    if middle is None:
        return ""
    loss = next((y for _, y in progress.evaluations.points(middle, middle)), math.nan)
    missing = "no validation loss" if middle else "before training"
    loss_text = f"validation loss {loss:.4f}" if math.isfinite(loss) else missing
    best = ", best" if middle == progress.best_step else ""
    return f"   {_format_step(middle)}: {loss_text}{best}"


def _list_answered(progress: Progress) -> list[int]:
    return sorted({answer["step"] for answers in progress.samples.values() for answer in answers})


def _build_prompt(
    index: int, answers: list[Event], width: int, movable: int | None
) -> list[MenuLine]:
    """Return the lines of a prompt; left and right change step ``movable``, if there is another."""
    first = answers[0]
    messages = str(first.get("prompt") or "").splitlines()
    prompt = make_visible("  ".join(messages), 400)
    lines = [MenuLine(Text.assemble((f"{index + 1}  ", "dim"), (prompt, "bold")))]
    steps = [answer["step"] for answer in answers]
    labels = [
        (f"‹ {_format_step(step)} ›" if step == movable else _format_step(step))
        + _format_reward(answer)
        for step, answer in zip(steps, answers, strict=True)
    ]
    label_cells = max(MIN_LABEL_CELLS, len(_format_step(steps[-1])) + (0 if movable is None else 4))
    if any(map(_format_reward, answers)):
        label_cells = max(label_cells, *map(len, labels))
    if first.get("expected"):
        lines += _build_labeled("expected", label_cells, first, "expected", width, palette.GOOD)
    if width >= MIN_SIDE_BY_SIDE and len(answers) > 1:
        lines += _build_columns(labels, answers, width)
    else:
        for label, answer in zip(labels, answers, strict=True):
            lines += _build_labeled(label, label_cells, answer, "answer", width, "")
    return [*lines, MenuLine(Text())]


def _build_columns(labels: list[str], answers: list[Event], width: int) -> list[MenuLine]:
    column_cells = (width - 3) // len(answers) - 2
    columns = [
        [Text(label, "dim"), *_wrap(answer, "answer", column_cells)]
        for label, answer in zip(labels, answers, strict=True)
    ]
    lines = []
    for cells in zip_longest(*columns, fillvalue=Text()):
        row = Text("   ")
        for cell in cells:
            row.append_text(cell).append(" " * (column_cells + 2 - cell.cell_len))
        row.rstrip()
        lines.append(MenuLine(row))
    return lines


def _build_labeled(
    label: str, label_cells: int, event: Event, field: str, width: int, style: str
) -> list[MenuLine]:
    lines = []
    for part in _wrap(event, field, max(20, width - label_cells - 5), style):
        lines.append(MenuLine(Text.assemble("   ", (f"{label:<{label_cells}}", "dim"), "  ", part)))
        label = ""
    return lines


def _wrap(event: Event, field: str, width: int, style: str = "") -> list[Text]:
    text = make_visible(str(event.get(field) or ""), 2000) or "(empty)"
    if field == "answer" and event.get("truncated"):
        text += " …"
    parts = list(Text(text, style).wrap(Console(width=width), max(8, width)))
    if len(parts) > MAX_LINES:
        parts = [*parts[: MAX_LINES - 1], Text("…", "dim")]
    return parts


def _format_reward(answer: Event) -> str:
    """Return the reward of an answer, of reinforcement; empty without one."""
    reward = to_number(answer.get("reward"))
    return "" if reward is None else f", reward {reward:.3g}"


def _format_step(step: int) -> str:
    return "base" if step == 0 else f"step {step:,}"


def build_row_lines(event: Event, width: int, plan: Plan | None) -> list[MenuLine]:
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
